"""What a question on the command line is about: `backbone=resnet20 attn=se,eca` as a choice among tables."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attnbench import mechanisms
from attnbench.config.files import names
from attnbench.config.schema import GROUPS
from attnbench.errors import UserError, unknown
from attnbench.report.load import TASKS_BEFORE, load
from attnbench.report.tables.table import CONTROL, Row, Table, tables

OF_TABLE = ("task", "data", "backbone", "recipe")
OF_ROW = ("attn", "site", "category")


@dataclass
class Selection:
    """The values asked for, by key; a key that was not named allows all."""

    asked: dict[str, list[str]]
    results: Path = Path("results")
    rest: dict[str, str] = field(default_factory=dict)  # what a verb takes beside

    def table(self, table: Table) -> bool:
        """Whether a table is meant."""
        return all(getattr(table, key) in self.asked.get(key, [getattr(table, key)]) for key in OF_TABLE)

    def row(self, row: Row) -> bool:
        """Whether a row is meant: `attn=se` means SE with any options, `attn=se(reduction=8)` that one."""
        attns = self.asked.get("attn")
        told = {"site": row.site, "category": row.category}
        named = attns is None or row.attn in attns or row.mechanism in attns
        return named and all(told[key] in self.asked.get(key, [told[key]]) for key in told)


def parse(words: Sequence[str], takes: Sequence[str] = ()) -> Selection:
    """The selection of `KEY=VALUE[,VALUE]` words; raises `UserError` for what cannot be meant."""
    made = Selection({})
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise UserError(f"{word}: KEY=VALUE was expected")
        if key == "results":
            made.results = Path(value)
        elif key in takes:
            made.rest[key] = value
        elif key in (*OF_TABLE, *OF_ROW):
            made.asked[key] = [TASKS_BEFORE.get(v, v) if key == "task" else v for v in listed(value)]
        else:
            raise unknown("key", key, [*OF_TABLE, *OF_ROW, "results", *takes])
    return made


def listed(value: str) -> list[str]:
    """`se,gc(ratio=4, pool=att)` -> its two values: a comma within brackets parts nothing."""
    return [part.strip() for part in re.split(r",(?![^(]*\))", value) if part.strip()]


def read(selection: Selection) -> list[Table]:
    """All tables of the folder; raises `UserError` where it has none, or for a name that exists nowhere."""
    found = tables(load(selection.results).records)
    if not found:
        raise UserError(f"no records in {selection.results / 'cells'}: run some cells first")
    for key, values in selection.asked.items():
        known = _known(key, found)
        for value in values:
            if value not in known:
                raise unknown(key, value, known)
    return found


def _known(key: str, found: Sequence[Table]) -> set[str]:
    """The names that a key may have: of what was run and of what could be."""
    run: Mapping[str, set[str]] = {
        "attn": {text for t in found for r in t.rows for text in (r.attn, r.mechanism)},
        "site": {r.site for t in found for r in t.rows} - {""},
        "category": set(mechanisms.CATEGORIES),
    }
    own = run.get(key) or {getattr(t, key) for t in found if key in OF_TABLE} - {""}
    if key == "attn":
        return own | set(mechanisms.entries())
    return own | set(names(key) if key in GROUPS else [])


def other_than_control(rows: Sequence[Row]) -> list[Row]:
    """The rows that have attention."""
    return [row for row in rows if row.attn != CONTROL]
