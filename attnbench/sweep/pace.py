"""How long cells take, from cells like them that are done."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from attnbench.cell import Cell
from attnbench.records import Record

NEWEST = 0.3  # weight of the cell that ended last
Likeness = tuple[Hashable, ...]


@dataclass
class Pace:
    """Seconds of a cell, known by ever wider likeness: mechanism in its table, table, kind of training."""

    seconds: dict[Hashable, float] = field(default_factory=dict)

    def read(self, records: Iterable[Record]) -> None:
        """Learn from records that are done."""
        for record in records:
            known = (record.get("provenance") or {}).get("wall_s")
            if record["status"] == "done" and known:
                self.learn(_likeness(record["cell"], record["table"]), known)

    def learn(self, likeness: Likeness, seconds: float) -> None:
        """Take in how long a cell took."""
        for kind in likeness:
            before = self.seconds.get(kind, seconds)
            self.seconds[kind] = before + NEWEST * (seconds - before)

    def expect(self, likeness: Likeness) -> float | None:
        """Seconds that a cell may take; None before any like it has ended."""
        return next((self.seconds[kind] for kind in likeness if kind in self.seconds), None)

    def total(self, cells: Mapping[Likeness, int]) -> tuple[float, int]:
        """Seconds that so many cells of each kind may take, and of how many nothing is known."""
        known = [(self.expect(kind), count) for kind, count in cells.items()]
        seconds = sum(each * count for each, count in known if each is not None)
        return seconds, sum(count for each, count in known if each is None)


def likeness(cell: Cell) -> Likeness:
    """What cells that take about as long have in common, the closest likeness first."""
    return _likeness(cell.coordinates(), cell.table)


def _likeness(at: Mapping[str, Any], table: str) -> Likeness:
    kind = tuple(at.get(name) for name in ("task", "data", "backbone", "recipe"))
    return (table, at.get("mechanism"), at.get("site")), (table,), kind


def many(count: int) -> str:
    """So many cells, in words: 1 cell, 2 cells."""
    return "1 cell" if count == 1 else f"{count} cells"


def span(seconds: float) -> str:
    """A length of time as a person says it: 45 s, 3 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
