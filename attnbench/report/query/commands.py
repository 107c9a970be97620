"""Commands whose cells would stand in a table: what to choose by name, then each setting that differs."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from attnbench.cell import Cell
from attnbench.config.files import folder
from attnbench.config.rules import check_shared
from attnbench.config.schema import Config, Origin, choices
from attnbench.errors import UserError
from attnbench.records import Record
from attnbench.report.load import at
from attnbench.report.query.selection import OF_TABLE
from attnbench.report.query.settings import apart, is_axis, word
from attnbench.report.tables.folds import FOLD, MEMBERS
from attnbench.report.tables.table import Table

Compose = Callable[..., Config]  # words -> the configuration, not checked
Settings = list[tuple[str, Any]]  # what to set, by dotted name

RESULTS = Path("results")  # where records lie if nothing is said
OTHERWISE = (
    "They would make a table of their own: the code or conf/ has changed since this one's cells were run"
)


@dataclass(frozen=True)
class Command:
    """What the cells of one table share, as words of the command line."""

    words: tuple[str, ...]
    config: Config | None  # that the words make; None where the table's records have none
    last: tuple[str, ...] = ()  # words on folders
    folds: int = 1
    remark: str = ""

    @property
    def cell(self) -> dict[str, str]:
        """What a record would call its cells."""
        parts = {} if self.config is None else {key: getattr(self.config, key).name for key in OF_TABLE}
        return parts or dict(word.partition("=")[::2] for word in self.words)

    def impossible(self, mechanism: str, site: str) -> str | None:
        """Why a mechanism has no place there, as far as names can tell."""
        if self.config is None:
            return None
        return Cell(replace(self.config, attn={"name": mechanism}, site=site or "paper")).impossible

    def line(self, attns: Sequence[str], own: Sequence[str], seeds: Sequence[int]) -> str:
        """The command for several mechanisms and seeds; `own` are words of these mechanisms alone."""
        axes = [f"attn={','.join(attns)}", *own, f"seed={','.join(map(str, seeds))}"]
        return f"  python -m attnbench -m {shlex.join([*self.words, *axes, *self.last])}"


def of_table(table: Table, results: Path, compose: Compose) -> Command:
    """The command whose cells would stand in the table; its remark tells where that cannot be."""
    names = {key: name for key in OF_TABLE if (name := getattr(table, key))}
    record = next((r for r in table.records if isinstance(r.get("config"), dict)), None)
    if record is None:
        return Command(tuple(f"{key}={name}" for key, name in names.items()), None)
    stored = record["config"]
    base = _base(names, stored, compose)
    try:
        return _exact(table, record, base, results, compose)
    except UserError as error:
        return Command(tuple(base), None, remark=f"{OTHERWISE}: {error}")


def _exact(table: Table, record: Record, base: list[str], results: Path, compose: Compose) -> Command:
    """The words that choose the files, and each setting that a record has otherwise."""
    settings = list(apart(compose(*base), record["config"]))
    words = [*base, *(word(key, value) for key, value in settings)]
    known = _members(table, record)
    config = compose(*base, *_at_fold(settings, next(iter(known))))
    same = all(Cell(compose(*base, *_at_fold(settings, fold))).table == known[fold] for fold in known)
    folds = next((len(v) for key, v in settings if is_axis(key, v)), 1)
    return Command(tuple(words), config, _last(config, results), folds, "" if same else OTHERWISE)


def of_names(names: Mapping[str, str], results: Path, compose: Compose) -> Command:
    """The command for what was named; the task, where it was not, is the first that can be done.

    Raises `UserError` where none can.
    """
    others = [f"{key}={value}" for key, value in names.items() if key != "task"]
    served = compose(*(word for word in others if word.startswith("data="))).data.tasks
    tasks = [names["task"]] if "task" in names else list(served)
    refused: list[UserError] = []
    for task in tasks:
        words = [f"task={task}", *others]
        config = compose(*words)
        try:
            check_shared(config)
        except UserError as error:
            refused.append(error)
        else:
            named = words if "data" in names else [*words, f"data={config.data.name}"]
            return Command(tuple(named), config, _last(config, results))
    raise refused[0]


def _base(names: Mapping[str, str], stored: Mapping[str, Any], compose: Compose) -> list[str]:
    """The words that choose a file a group: of those that give the name, the one that says most."""
    words: list[str] = []
    for group, name in names.items():
        files = _files(group).get(name) or _alike(group, stored)
        points = [[*words, f"{group}={file}"] for file in files]
        far = {tuple(p): _distance(p, group, stored, compose) for p in points} if len(points) > 1 else {}
        words = min(points, key=lambda point: far.get(tuple(point), 0.0))
    return words


def _distance(words: list[str], group: str, stored: Mapping[str, Any], compose: Compose) -> float:
    """How many settings of a group the words leave to be set."""
    try:
        made = getattr(compose(*words), group)
    except UserError:
        return float("inf")
    return len(list(apart(made, stored.get(group) or {}, f"{group}.")))


def _alike(group: str, stored: Mapping[str, Any]) -> list[str]:
    """The files for what was given a name of its own: those of the same source, if there are any."""
    source = (stored.get(group) or {}).get("source")
    return [file for file in choices(group) if _content(group, file).get("source") == source] or choices(
        group
    )


def _files(group: str) -> dict[str, list[str]]:
    """What is called so in records -> the files of `conf/` that call it so."""
    found: dict[str, list[str]] = {}
    for file in choices(group):
        found.setdefault(_content(group, file).get("name", file), []).append(file)
    return found


@cache
def _content(group: str, file: str) -> dict[str, Any]:
    return yaml.safe_load((folder("conf") / group / f"{file}.yaml").read_text(encoding="utf-8")) or {}


def _at_fold(settings: Settings, fold: Any) -> list[str]:
    """The words of the settings, for one of the folds that they name."""
    return [word(key, fold if is_axis(key, value) else value) for key, value in settings]


def _members(table: Table, record: Record) -> dict[Any, str]:
    """Fold -> fingerprint of the table that its cells have by themselves; the table's own without folds."""
    return dict(record.get(MEMBERS) or [(at(record, *FOLD), table.fingerprint)])


def _last(config: Config, results: Path) -> tuple[str, ...]:
    """The words on folders, where there must be any."""
    root = (
        ("data.root=FOLDER",) if config.recipe.trains and config.data.origin is not Origin.generated else ()
    )
    return root if results == RESULTS else (*root, word("results", str(results)))
