"""A cell: one point of the grid, and the fingerprints that say which cells are the same and which compare."""

import ast
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from attnbench import mechanisms
from attnbench.config.schema import Config, Layout

PROTOCOL = 1  # raise it when a change to data, training or evaluation changes what a cell measures
NOT_IDENTITY = ("hardware", "track", "launch", "results", "runs")
SHARED_BY_ALL = (f"{mechanisms.__name__}.base",)  # a change to it is a new PROTOCOL
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
        if self.mechanism == "none" or self.site in self.config.sites:
            return None
        known = ", ".join(self.config.sites)
        return f"{self.config.backbone.name} has no site '{self.site}' (it has: {known})"

    @cached_property
    def table(self) -> str:
        """Fingerprint of all that the cells of one leaderboard share."""
        # How cost was measured changes no accuracy, so trained cells compare whatever it was.
        apart = NOT_COMPARED if not self.config.task.trains else (*NOT_COMPARED, "cost")
        return fingerprint({k: v for k, v in self._identity.items() if k not in apart})

    @cached_property
    def digest(self) -> str:
        """Fingerprint of the mechanism's code."""
        return mechanism_digest(self.mechanism)

    @cached_property
    def key(self) -> str:
        """Fingerprint of all that can change one of its numbers; the name of its record."""
        return fingerprint({**self._identity, "digest": self.digest})

    @cached_property
    def _identity(self) -> dict[str, Any]:
        config = {k: v for k, v in settled(self.config).items() if k not in NOT_IDENTITY}
        config["data"] = {k: v for k, v in config["data"].items() if k not in ("root", "download")}
        config["backbone"] = {k: v for k, v in config["backbone"].items() if k != "sites"}
        if "contains_at" in config["backbone"]:
            config["backbone"]["digest"] = mechanism_digest(str(self.config.backbone.contains))
        config["task"] = {k: v for k, v in config["task"].items() if k != "sites"}
        # The control is the same wherever it would have stood.
        config["site"] = None if self.mechanism == "none" else self._where()
        return {**config, "protocol": PROTOCOL}

    def _where(self) -> dict[str, Any]:
        """The site by what it matches, so that renaming it in a file changes nothing."""
        site = self.config.sites.get(self.site)
        return {"name": self.site} if site is None else settled(site)

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
        config = asdict(self.config)
        config["data"].pop("root")
        return {
            "key": self.key,
            "status": status,
            "reason": reason,
            "cell": self.coordinates(),
            "table": self.table,
            "digest": self.digest,
            "config": {k: v for k, v in config.items() if k not in ("results", "runs")},
            **dict.fromkeys(("metrics", "cost", "provenance")),
            "curve": [],
            **measured,
        }

    def __str__(self) -> str:
        c = self.coordinates()
        at = f" at {c['site']}" if c["site"] else ""
        where = f"{c['task']} {c['data']} {c['backbone']}"
        return f"{where} {c['attn']}{at}, recipe {c['recipe']}, seed {c['seed']}"


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
        found = _known[id(part)] = part, settled(part)
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


@cache
def sources(path: Path) -> tuple[Path, ...]:
    """A mechanism's file and the files of `attnbench.mechanisms` that it imports, but for what all share."""
    found, rest = [path], [path]
    while rest:
        tree = ast.parse(rest.pop().read_text(encoding="utf-8"))
        names = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        for name in names:
            if not name.startswith(f"{mechanisms.__name__}.") or name in SHARED_BY_ALL:
                continue
            file = mechanisms.HERE.joinpath(*name.split(".")[2:]).with_suffix(".py")
            if file.is_file() and file not in found:
                found.append(file)
                rest.append(file)
    return tuple(found)


def mechanism_digest(name: str) -> str:
    """Fingerprint of a mechanism's code: its file, and what that imports of the zoo's shared parts."""
    first, *others = sources(mechanisms.entry(name).path)
    own = code_digest(first)
    return fingerprint({"own": own, "shared": sorted(map(code_digest, others))}) if others else own


@cache
def code_digest(path: Path) -> str:
    """Fingerprint of a Python file's meaning: comments, docstrings and layout do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            node.body = body[1:]  # type: ignore[attr-defined]
    return fingerprint({"ast": ast.dump(tree)})


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is nothing but a string."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
