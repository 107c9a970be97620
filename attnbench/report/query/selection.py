"""What a question on the command line is about: `backbone=resnet20 attn=se,eca` as a choice among tables."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attnbench.errors import UserError, unknown
from attnbench.records.schema import TASKS_BEFORE
from attnbench.report.tables.table import Row, Table

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
        written = {"site": row.site, "category": row.category}
        named = attns is None or row.attn in attns or row.mechanism in attns
        return named and all(written[key] in self.asked.get(key, [written[key]]) for key in written)


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
