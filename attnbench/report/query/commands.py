"""Commands whose cells would stand in a table: the words that asked for its records."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from attnbench.cell import Cell
from attnbench.config.keys import text
from attnbench.config.rules import check_shared
from attnbench.config.schema import Config, Origin
from attnbench.errors import UserError
from attnbench.records import Record
from attnbench.records.schema import TASKS_BEFORE
from attnbench.report.load import VARIES, at
from attnbench.report.query.selection import OF_TABLE
from attnbench.report.query.words import word
from attnbench.report.tables.folds import FOLD, MEMBERS
from attnbench.report.tables.table import Table

Compose = Callable[..., Config]  # words -> the configuration, not checked

RESULTS = Path("results")  # where records lie by default
FOLDS = ".".join(FOLD[1:])  # as the command line has it
OTHERWISE = (
    "They would make a table of their own: the code or conf/ has changed since this one's cells were run"
)
UNASKED = "Its records do not state which words asked for them: settings beside these names are not repeated"


@dataclass(frozen=True)
class Command:
    """What the cells of one table share, as words of the command line."""

    words: tuple[str, ...]
    config: Config | None  # that the words make; None where they make none
    table: str = ""  # fingerprint; empty where there is no table yet
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
    record = next((r for r in reversed(table.records) if r.get("request")), None)
    if record is None:
        names = tuple(f"{key}={name}" for key in OF_TABLE if (name := getattr(table, key)))
        return Command(names, None, table.fingerprint, remark=UNASKED)
    words, members = list(shared(record["request"])), _members(table, record)
    try:
        configs = {fold: compose(*_at_fold(words, fold)) for fold in members}
    except UserError as error:
        return Command(tuple(words), None, table.fingerprint, remark=f"{OTHERWISE}: {error}")
    same = all(Cell(config).table == members[fold] for fold, config in configs.items())
    config = next(iter(configs.values()))
    if len(members) > 1:
        words = [*_at_fold(words, None), f"{FOLDS}={','.join(map(text, members))}"]
    remark = "" if same else OTHERWISE
    return Command(tuple(words), config, table.fingerprint, _last(config, results), len(members), remark)


def shared(request: Sequence[str]) -> Iterator[str]:
    """The words of a request that all cells of its table share, under their present names."""
    for asked in request:
        key, _, value = asked.partition("=")
        name = key.lstrip("+~")
        if name.split(".")[0] in VARIES or name.startswith("data.root"):
            continue
        if name == "task" and value in TASKS_BEFORE:
            yield from (f"task={TASKS_BEFORE[value]}", "recipe=none")
        elif asked != "recipe=none" or "task" not in _before(request):
            yield asked


def _before(request: Sequence[str]) -> dict[str, str]:
    """The tasks of a request that have another name now."""
    pairs = (asked.partition("=")[::2] for asked in request)
    return {key: value for key, value in pairs if key == "task" and value in TASKS_BEFORE}


def _at_fold(words: Sequence[str], fold: Any) -> list[str]:
    """The words for one fold; without any where there is none."""
    others = [each for each in words if not each.lstrip("+").startswith(f"{FOLDS}=")]
    if fold is None:
        return others
    plus = next((each for each in words if each.startswith(f"++{FOLDS}=")), "")
    return [*others, f"{'++' if plus else ''}{FOLDS}={text(fold)}"]


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
            return Command(tuple(named), config, last=_last(config, results))
    raise refused[0]


def _members(table: Table, record: Record) -> dict[Any, str]:
    """Fold -> fingerprint of the table that its cells have by themselves; the table's own without folds."""
    return dict(record.get(MEMBERS) or [(at(record, *FOLD), table.fingerprint)])


def _last(config: Config, results: Path) -> tuple[str, ...]:
    """The words on folders, where there must be any."""
    needed = config.recipe.trains and config.data.origin is not Origin.generated
    root = ("data.root=FOLDER",) if needed else ()
    return root if results == RESULTS else (*root, word("results", str(results)))
