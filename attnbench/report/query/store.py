"""The records that a question is about, and what is known of all others, through the index."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnbench import mechanisms
from attnbench.config.files import names
from attnbench.config.schema import GROUPS
from attnbench.errors import UserError, unknown
from attnbench.records import Record
from attnbench.records.index import Index, opened
from attnbench.records.pace import Pace
from attnbench.report.pages.names import names as names_of
from attnbench.report.query.selection import OF_ROW, OF_TABLE, Selection
from attnbench.report.tables.table import Table, tables


@dataclass
class Store:
    """The tables that were asked for, read in full, and what the index knows of the rest."""

    results: Path
    tables: list[Table]
    titles: list[str]  # of all tables of the folder
    pace: Pace
    examples: dict[str, Record] = field(default_factory=dict)  # of each row that was asked for with options


def read(asked: Selection, difference: float | None = None) -> Store:
    """What is in the folder that was asked for, and the cost-only tables of its backbones.

    Raises `UserError` where the folder has no records, or for a name that exists nowhere.
    """
    with opened(asked.results) as index:
        every = index.tables()
        if not every:
            raise UserError(f"no records in {asked.results / 'cells'}: run some cells first")
        for key, values in asked.asked.items():
            known = _known(key, index)
            for value in values:
                if value not in known:
                    raise unknown(key, value, known)
        wanted = [line["fingerprint"] for line in every if _is_asked(line, asked)]
        rows = asked.asked.get("attn", [])
        if rows and not any(key in asked.asked for key in OF_TABLE):
            having = index.with_rows(rows)
            wanted = [each for each in wanted if each in having] or wanted
        found = list(names_of(tables(index.load(wanted), difference)).values())
        return Store(
            asked.results,
            found,
            list(dict.fromkeys(map(_title, every))),
            index.pace(),
            {name: record for name in rows if "(" in name and (record := index.one(name))},
        )


def _is_asked(line: dict[str, Any], asked: Selection) -> bool:
    """Whether a table's names are what was asked for, or it has the costs of a backbone that was."""
    meant = all((line[key] or "") in asked.asked.get(key, [line[key] or ""]) for key in OF_TABLE)
    return meant or (not line["trains"] and line["backbone"] in asked.asked.get("backbone", []))


def _title(line: dict[str, Any]) -> str:
    named = [line[key] for key in (OF_TABLE if line["trains"] else ("task", "backbone"))]
    return " · ".join(filter(None, named))


def _known(key: str, index: Index) -> set[str]:
    """The names that a key may have: of what was run and of what could be."""
    if key == "category":
        return set(mechanisms.CATEGORIES)
    own = index.values(key)
    if key == "attn":
        return own | index.values("mechanism") | set(mechanisms.entries())
    return own | set(names(key) if key in GROUPS and key not in OF_ROW else [])


def fitting(found: Sequence[Table], asked: Selection) -> list[Table]:
    """The tables that were asked for by name."""
    return [table for table in found if asked.table(table)]
