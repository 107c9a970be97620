"""How long cells take, from cells like them that are done."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from attnbench.records import Record

if TYPE_CHECKING:
    from attnbench.cell import Cell

NEWEST = 0.3  # weight of the cell that ended last
Likeness = tuple[Hashable, ...]
BASES = (  # what cells that take about as long have in common, the closest likeness first
    "the same mechanism in the same table",
    "the same table",
    "the same mechanism, data, backbone and recipe",
    "the same data, backbone and recipe",
    "the same backbone and recipe on other data",
)


@dataclass
class Pace:
    """Seconds of a cell, known by ever wider likeness."""

    seconds: dict[Hashable, float] = field(default_factory=dict)
    counts: dict[Hashable, int] = field(default_factory=dict)

    def read(self, records: Iterable[Record]) -> None:
        """Learn from records that are done."""
        for record in records:
            known = (record.get("provenance") or {}).get("wall_s")
            if record["status"] == "done" and known:
                self.learn(of_names(record["cell"], record["table"]), known)

    def learn(self, likeness: Likeness, seconds: float) -> None:
        """Take in how long a cell took."""
        for kind in likeness:
            before = self.seconds.get(kind, seconds)
            self.seconds[kind] = before + NEWEST * (seconds - before)
            self.counts[kind] = self.counts.get(kind, 0) + 1

    def expect(self, likeness: Likeness) -> float | None:
        """Seconds that a cell may take; None before any like it has ended."""
        return next((self.seconds[kind] for kind in likeness if kind in self.seconds), None)

    def basis(self, likeness: Likeness) -> str:
        """What the expectation rests on; empty where there is none."""
        found = next(((i, kind) for i, kind in enumerate(likeness) if kind in self.seconds), None)
        return f"{self.counts[found[1]]} done with {BASES[found[0]]}" if found else ""

    def total(self, cells: Mapping[Likeness, int]) -> tuple[float, int]:
        """Seconds that so many cells of each kind may take, and of how many nothing is known."""
        known = [(self.expect(kind), count) for kind, count in cells.items()]
        seconds = sum(each * count for each, count in known if each is not None)
        return seconds, sum(count for each, count in known if each is None)


def likeness(cell: "Cell") -> Likeness:
    """What cells that take about as long as this one have in common."""
    return of_names(cell.coordinates(), cell.table)


def of_names(at: Mapping[str, Any], table: str) -> Likeness:
    """The likenesses of a cell by its names and its table, the closest first."""
    task, data, backbone, recipe, mechanism = (
        at.get(name) or "" for name in ("task", "data", "backbone", "recipe", "mechanism")
    )
    return (
        ("row", table, mechanism),
        ("table", table),
        ("mechanism", task, data, backbone, recipe, mechanism),
        ("names", task, data, backbone, recipe),
        ("backbone", task, backbone, recipe),
    )


def many(count: int) -> str:
    """So many cells, in words: 1 cell, 2 cells."""
    return "1 cell" if count == 1 else f"{count} cells"


def span(seconds: float) -> str:
    """A length of time as a person writes it: 45 s, 3 min, 2.5 h, 3.2 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
