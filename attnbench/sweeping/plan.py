"""Which cells of a sweep are done, which cannot be, which are to run, and how long that may take."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attnbench import records
from attnbench.cell import Cell
from attnbench.records import Record
from attnbench.records.index import opened
from attnbench.records.pace import Pace, likeness, many, span

AGAIN = ("failed", "out_of_memory")  # ends that launch.retry tries once more
FEW_CELLS, FEW_FILES = 50, 2000
REASONS = 3  # that the plan's line spells out


def due(cell: Cell, record: Record | None, retry: bool) -> bool:
    """Whether a cell with that record is to be run: for the first time, again, or for weights to keep."""
    if record is None:
        return True
    if record["status"] in AGAIN:
        return retry
    wanted = cell.config.keep and record["status"] == "done" and bool(record.get("curve"))
    return wanted and not (Path(cell.config.runs) / cell.key / records.WEIGHTS).is_file()


@dataclass
class Plan:
    """A sweep's cells, sorted by what there is to do about them."""

    done: list[Cell] = field(default_factory=list)
    impossible: list[tuple[Cell, str]] = field(default_factory=list)  # and why
    todo: list[Cell] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)  # key -> stamp of the record that is to be replaced
    new: list[Cell] = field(default_factory=list)  # impossible ones that have no record yet
    ends: Counter[str] = field(default_factory=Counter)  # of the done ones, by status
    damaged: dict[str, str] = field(default_factory=dict)  # files that are no records, and why
    pace: Pace = field(default_factory=Pace)

    @classmethod
    def of(cls, cells: Sequence[Cell], retry: bool) -> "Plan":
        """The plan of these cells: each reads the one file that its key names.

        With few cells the index learns from few files that it does not know yet, so that they start at once.
        """
        plan = cls()
        for results in dict.fromkeys(cell.config.results for cell in cells):
            with opened(Path(results), FEW_FILES if len(cells) <= FEW_CELLS else None) as index:
                plan.damaged |= index.damaged()
                plan.pace = index.pace()
        for cell in cells:
            plan._sort(cell, records.find(Path(cell.config.results), cell.key), retry)
        return plan

    def _sort(self, cell: Cell, record: Record | None, retry: bool) -> None:
        if record is None and cell.impossible:
            self.impossible.append((cell, cell.impossible))
            self.new.append(cell)
        elif record is None:
            self.todo.append(cell)
        elif due(cell, record, retry):
            self.todo.append(cell)
            self.seen[cell.key] = records.stamp(Path(cell.config.results), cell.key) or 0
        elif record["status"] == "skipped":
            self.impossible.append((cell, record["reason"] or "no reason given"))
        else:
            self.done.append(cell)
            self.ends[record["status"]] += 1

    @property
    def failed(self) -> int:
        """How many cells are recorded as failed or out of memory, and are left so."""
        return sum(self.ends[status] for status in AGAIN)

    def settle(self) -> None:
        """Record the impossible cells: names alone tell, nothing has to run."""
        for cell in self.new:
            records.write_first(Path(cell.config.results), cell.record("skipped", cell.impossible))

    def describe(self, jobs: int) -> str:
        """The plan in one line, but for the number of all cells."""
        ends = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()) if end != "done")
        parts = [f"{len(self.done)} done" + (f" ({ends})" if ends else "")]
        if self.impossible:
            parts.append(f"{len(self.impossible)} impossible ({self._why()})")
        if not self.todo:
            return ", ".join([*parts, "nothing to run"])
        return ", ".join([*parts, f"{len(self.todo)} to run", self._time(jobs)])

    def _why(self) -> str:
        reasons = Counter(reason for _, reason in self.impossible)
        if len(reasons) == 1:
            return next(iter(reasons))
        parts = [f"{count}: {reason}" for reason, count in reasons.most_common(REASONS)]
        more = len(reasons) - REASONS
        return "; ".join([*parts, f"{more} more reasons"] if more > 0 else parts)

    def _time(self, jobs: int) -> str:
        seconds, unknown = self.pace.total(Counter(map(likeness, self.todo)))
        if unknown == len(self.todo):
            return "time unknown yet"
        workers = f"{jobs} worker{'s' if jobs > 1 else ''}"
        rest = f", and {many(unknown)} of unknown length" if unknown else ""
        return f"≈ {span(seconds / jobs)} on {workers}{rest}"
