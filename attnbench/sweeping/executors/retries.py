"""What becomes of a cell that its worker left without a record: it is tried again, or recorded as failed."""

from pathlib import Path

from attnbench import records
from attnbench.cell import Cell
from attnbench.errors import Unwritable
from attnbench.sweeping.executors.events import Work

BUSY = "another process is running it"
FINAL = ("ended", "refused", "unwritable")  # states that need no second look


class Retries:
    """Counts interruptions of a sweep's cells; a cell that got further since the last one is not blamed."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.tries: dict[str, records.Tries] = {}

    def begin(self, cell: Cell) -> None:
        """Note where a cell starts from."""
        checkpoint = Path(cell.config.runs) / cell.key / records.CHECKPOINT
        self.tries.setdefault(cell.key, records.Tries(checkpoint))

    def settle(self, cell: Cell, state: str, reason: str) -> tuple[str, str]:
        """A cell's state after its worker's answer, and why: `again` where it is to be tried again."""
        seen = self.work.seen.get(cell.key)
        if state in FINAL:
            return state, reason
        if records.stamp(Path(cell.config.results), cell.key) != seen:
            return "ended", ""
        if state == "unrecorded":
            return state, reason
        if state == "busy":
            return "again", BUSY
        if self.work.stop():
            return "stopped", ""
        reason = reason or "its process was stopped from outside"
        if state == "overdue":
            return give_up(cell, reason, seen)
        if self.tries[cell.key].again():
            return "again", f"{reason}; it is tried again"
        return give_up(cell, f"{reason}, {records.TRIES} times", seen)


def give_up(cell: Cell, reason: str, seen: int | None) -> tuple[str, str]:
    """Record that a cell failed; the end of it, as an event's state and reason."""
    failed = cell.record("failed", reason)
    results = Path(cell.config.results)
    try:
        if seen is None:
            records.write_first(results, failed)
        else:
            records.write(results, failed)
    except Unwritable as error:
        return "unwritable", str(error)
    return "ended", reason
