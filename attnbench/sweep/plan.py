"""Which cells of a sweep are done, which are to do, and how long that may take."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attnbench import records
from attnbench.cell import Cell

AGAIN = ("failed", "out_of_memory")  # ends that launch.retry tries once more


@dataclass
class Plan:
    """Which cells have a record, which are to do, and how long that may take."""

    done: list[Cell] = field(default_factory=list)
    todo: list[Cell] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)  # of the done ones, by status
    seconds: dict[str, float] = field(default_factory=dict)  # table -> seconds a cell, where known

    @classmethod
    def of(cls, cells: Sequence[Cell], retry: bool) -> "Plan":
        plan = cls()
        seconds: dict[str, list[float]] = {}
        for cell in cells:
            record = records.find(Path(cell.config.results), cell.key)
            if record is None or (retry and record["status"] in AGAIN):
                plan.todo.append(cell)
                continue
            plan.done.append(cell)
            plan.ends[record["status"]] += 1
            if record["status"] == "done" and record.get("provenance"):
                seconds.setdefault(cell.table, []).append(record["provenance"]["wall_s"])
        plan.seconds = {table: sum(known) / len(known) for table, known in seconds.items()}
        return plan

    def expected(self, cells: Iterable[Cell], jobs: int) -> float | None:
        """Seconds that the cells may take; None before any like them has ended."""
        known = [self.seconds.get(cell.table) for cell in cells]
        if any(k is None for k in known):
            return None
        return sum(k for k in known if k is not None) / jobs

    def learn(self, cell: Cell, seconds: float) -> None:
        """Take in how long a cell took."""
        before = self.seconds.get(cell.table, seconds)
        self.seconds[cell.table] = before + 0.3 * (seconds - before)

    def describe(self, jobs: int) -> str:
        ends = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()) if end != "done")
        done = f"{len(self.done)} done" + (f" ({ends})" if ends else "")
        if not self.todo:
            return f"{done}, nothing to do"
        expected = self.expected(self.todo, jobs)
        time = f"about {span(expected)}" if expected else "time unknown yet"
        return f"{done}, {len(self.todo)} to do, {time}"


def span(seconds: float) -> str:
    """A length of time as a person says it: 45 s, 3 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
