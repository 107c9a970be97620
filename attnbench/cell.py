"""A cell: one point of the grid, and the fingerprints that say which cells are the same and which compare."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from attnbench import data, identity, mechanisms, tasks
from attnbench.config.acting import acting
from attnbench.config.schema import Config, Layout

PROTOCOL = 1  # raise it when a change to data, training or evaluation changes what a cell measures
NOT_IDENTITY = ("hardware", "track", "launch", "results", "runs", "request", "keep")
OF_THIS_RUN = ("results", "runs", "request", "keep")  # settings that no record repeats
NAMES_ONLY = ("task", "recipe")  # parts whose name is what a person calls them: another name, the same cell
WHERE = ("data.root=", "data.download=", *(f"{name}{end}" for name in NOT_IDENTITY for end in ".=/"))
APART = (
    "backbones",
    "cost",
    "data",
    "grafting",
    "tasks",
    "training",
)  # parts of the code with digests of their own
NOT_COMPARED = ("attn", "site", "seed")
NO_VALUE = object()


@dataclass(frozen=True)
class Cell:
    """One configuration, seen as (task, data, backbone, attn, site, recipe, seed)."""

    config: Config

    @cached_property
    def site(self) -> str:
        """The site asked for; `paper` stands for the one on the mechanism's card."""
        if self.config.site != "paper":
            return self.config.site
        entry = mechanisms.entry(mechanisms.candidate(self.config.attn)["name"])
        there = [site for site in entry.sites if site in self.config.sites]
        fitting = [s for s in there if entry.of_clips or self.config.sites[s].layout != Layout.BTCHW]
        return next(iter([*fitting, *there, *entry.sites]))

    @property
    def mechanism(self) -> str:
        return self.config.attn["name"]

    @property
    def options(self) -> dict[str, Any]:
        """The mechanism's options, defaults included."""
        return {k: v for k, v in self.config.attn.items() if k != "name"}

    @property
    def attn(self) -> str:
        """The mechanism's name with what differs from its defaults: `se`, `se(reduction=8)`."""
        defaults = mechanisms.entry(self.mechanism).options
        changed = [
            f"{k}={v}" for k, v in sorted(self.options.items()) if _listed(v) != _listed(defaults.get(k))
        ]
        return f"{self.mechanism}({', '.join(changed)})" if changed else self.mechanism

    @cached_property
    def impossible(self) -> str | None:
        """Why it has no meaning, as far as names alone can tell."""
        if self.mechanism == "none":
            return None
        if self.site not in self.config.sites:
            known = ", ".join(self.config.sites)
            return f"{self.config.backbone.name} has no site '{self.site}' (it has: {known})"
        reads = mechanisms.entry(self.mechanism).reads == "skeleton"
        if reads == (self.config.sites[self.site].layout == Layout.BTJC):
            return None
        return f"it reads {'skeletons' if reads else 'images'}, and {self.config.task.name} has none"

    @cached_property
    def table(self) -> str:
        """Fingerprint of all that the cells of one leaderboard share."""
        # How cost was measured changes no accuracy, so trained cells compare whatever it was.
        apart = NOT_COMPARED if not self.config.recipe.trains else (*NOT_COMPARED, "cost")
        shared = {k: v for k, v in self.code.items() if k != "grafting"}
        return fingerprint({"code": shared, **{k: v for k, v in self._identity.items() if k not in apart}})

    @cached_property
    def digest(self) -> str:
        """Fingerprint of the mechanism's code; of a control, of its candidate's code, too."""
        own, of = mechanism_digest(self.mechanism), mechanisms.candidate(self.config.attn)["name"]
        return own if of == self.mechanism else fingerprint({"own": own, "of": mechanism_digest(of)})

    @cached_property
    def code(self) -> Mapping[str, str]:
        """Digests of the code that it runs, by part."""
        config = self.config
        task = tasks.find(config.task.source or config.task.name)
        reader = data.entry(config.data, config.task.name) if config.recipe.trains else None
        parts = code(task.place.path, task.cls, config.backbone.source, reader)
        return parts if self.mechanism == "none" else {**parts, "grafting": grafting_digest()}

    @cached_property
    def key(self) -> str:
        """Fingerprint of all that can change one of its numbers; the name of its record."""
        return fingerprint({**self._identity, "digest": self.digest, "code": self.code})

    @cached_property
    def _identity(self) -> dict[str, Any]:
        config = {k: v for k, v in settled(self.config).items() if k not in NOT_IDENTITY}
        config["data"] = {k: v for k, v in config["data"].items() if k not in ("root", "download")}
        config["backbone"] = {k: v for k, v in config["backbone"].items() if k != "sites"}
        if "contains_at" in config["backbone"]:
            config["backbone"]["digest"] = mechanism_digest(str(self.config.backbone.contains))
        config["task"] = {k: v for k, v in config["task"].items() if k != "sites"}
        for part in NAMES_ONLY:
            config[part] = {k: v for k, v in config[part].items() if k != "name"}
        # The control is the same wherever it would have stood.
        config["site"] = None if self.mechanism == "none" else self._where()
        return {**config, "protocol": PROTOCOL}

    def _where(self) -> dict[str, Any]:
        """The site by what it matches, so that renaming it in a file changes nothing."""
        site = self.config.sites.get(self.site)
        return {"name": self.site} if site is None else settled(site)

    @property
    def request(self) -> list[str]:
        """The words that asked for it, without those that say where and how it runs."""
        return [word for word in self.config.request if not word.lstrip("+").startswith(WHERE)]

    def coordinates(self) -> dict[str, Any]:
        """What a person calls it."""
        return {
            "task": self.config.task.name,
            "data": self.config.data.name,
            "backbone": self.config.backbone.name,
            "attn": self.attn,
            "mechanism": self.mechanism,
            "category": mechanisms.entry(self.mechanism).category,
            "site": self.site if self.mechanism != "none" else "",
            "recipe": self.config.recipe.name,
            "seed": self.config.seed,
        }

    def record(self, status: str, reason: str | None = None, **measured: Any) -> dict[str, Any]:
        """Its record, without the paths of this machine."""
        config = asdict(acting(self.config))
        for name in ("root", "origin", "tasks"):  # of this machine, and facts that no number depends on
            config["data"].pop(name)
        return {
            "key": self.key,
            "status": status,
            "reason": reason,
            "cell": self.coordinates(),
            "table": self.table,
            "digest": self.digest,
            "code": dict(self.code),
            "request": self.request,
            "config": _spelled({k: v for k, v in config.items() if k not in OF_THIS_RUN}),
            **dict.fromkeys(("metrics", "cost", "provenance")),
            "curve": [],
            **measured,
        }

    def __str__(self) -> str:
        c = self.coordinates()
        at = f" at {c['site']}" if c["site"] else ""
        where = f"{c['task']} {c['data']} {c['backbone']}"
        return f"{where} {c['attn']}{at}, recipe {c['recipe']}, seed {c['seed']}"


def _spelled(value: Any) -> Any:
    """The settings with a word for each number that JSON does not have: inf, nan."""
    if isinstance(value, dict):
        return {k: _spelled(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_spelled(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _listed(value: Any) -> Any:
    """The value as it comes out of a configuration, which has lists for tuples."""
    return list(value) if isinstance(value, tuple) else value


def settled(settings: Any) -> dict[str, Any]:
    """The settings as a plain dictionary, without those that are new and say what was done before they were.

    A setting added after records exist carries `metadata={"neutral": value}`: while it has that value it is
    left out, so that the cells that were run before it stay the same cells.
    """
    plain: dict[str, Any] = {}
    for name, neutral, whole in _settings(settings.__class__):
        value = getattr(settings, name)
        if value == neutral:
            continue
        plain[name] = value if whole else _settled_once(value)
    return plain


_known: dict[int, tuple[Any, dict[str, Any]]] = {}  # parts that many configurations share, by identity


def _settled_once(part: Any) -> dict[str, Any]:
    """As `settled`, remembered: nothing changes a part of a configuration once it is made."""
    found = _known.get(id(part))
    if found is None:
        found = _known[id(part)] = part, settled(acting(part))
    return found[1]


@cache
def _settings(kind: type) -> tuple[tuple[str, Any, bool], ...]:
    """Of each setting its name, its neutral value (or what equals nothing), and whether it has no parts."""
    return tuple(
        (each.name, each.metadata.get("neutral", NO_VALUE), not is_dataclass(each.default_factory))
        for each in fields(kind)
    )


def fingerprint(content: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits of the content's sha256, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def mechanism_digest(name: str) -> str:
    """Digest of a mechanism's own code, without what all mechanisms inherit."""
    found = mechanisms.entry(name)
    return _part(f"mechanism {name}", found.path, found.cls, unfollowed=("mechanisms.base",))


@cache
def code(task: Path, cls: str, backbone: str, reader: tuple[Path, str] | None) -> Mapping[str, str]:
    """Digests of the code that the cells of a table share: backbone, task, and data and training, or cost.

    `task` and `reader` are files and what is meant in them; without a reader nothing is trained.
    """
    place = identity.PACKAGE
    builder = next(p for p in (place / "backbones").glob(f"*{backbone}.py") if p.stem.strip("_") == backbone)
    digests = {
        "base": _part("base of mechanisms", place / "mechanisms" / "base.py", "Mechanism"),
        "backbone": _part(f"backbone {backbone}", builder, "build"),
        "task": _part(f"task {task.stem}", task, cls),
    }
    if reader is not None:
        digests["data"] = _part(f"data {reader[0].stem}", *reader)
        loop = _part("training", place / "training" / "loop.py", "Training", "train", "evaluate")
        group = _part("training on processes", place / "training" / "distributed.py", "Group", "joined")
        return {**digests, "training": loop, "processes": group}
    return {**digests, "cost": _part("cost", place / "cost" / "profile.py", "profile")}


def grafting_digest() -> str:
    """Digest of the code that puts mechanisms into networks."""
    return _part("grafting", identity.PACKAGE / "grafting" / "graft.py", "graft")


@cache
def _part(part: str, file: Path, *names: str, unfollowed: tuple[str, ...] = ()) -> str:
    """The digest under which a part of the code stands in keys; no part looks into another."""
    inside = file.is_relative_to(identity.PACKAGE)
    own = f"{file.relative_to(identity.PACKAGE).parts[0]}." if inside else ""
    stop = (*identity.UNFOLLOWED, *unfollowed, *(package for package in APART if package != own))
    return identity.canonical(part, identity.digest(file, *names, unfollowed=stop))
