"""What a person sees of a sweep: a line for each cell that ends, a bar, and the time that is left."""

import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from attnbench import records
from attnbench.cell import Cell
from attnbench.sweep.executors import Event
from attnbench.sweep.plan import AGAIN, Plan, span

EARLY = 0.02  # share of a cell below which its pace says nothing
EVERY = 60.0  # seconds between lines about running cells where there is no terminal to draw a bar on


class Board:
    """Follows a sweep's events and tells them."""

    def __init__(self, plan: Plan, jobs: int, console: Console) -> None:
        self.plan, self.jobs, self.console = plan, jobs, console
        self.waiting = {cell.key: cell for cell in plan.todo}
        self.began: dict[str, float] = {}  # of the running cells
        self.share: dict[str, float] = {}
        self.ended = 0
        self.failed: list[str] = []
        self.refused: Counter[str] = Counter()
        self.printed = time.monotonic()

    def follow(self, events: Iterable[Event]) -> None:
        """Show progress until the events end."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        hidden = not self.console.is_terminal
        with Progress(*columns, console=self.console, transient=True, disable=hidden) as progress:
            bar = progress.add_task("starting", total=len(self.plan.todo))
            for event in events:
                self._take(event)
                done = len(self.plan.todo) - len(self.waiting) - len(self.began)
                progress.update(bar, completed=done + sum(self.share.values()), description=self.remaining())

    def _take(self, event: Event) -> None:
        key = event.cell.key
        if event.state == "started":
            self.began[key] = time.monotonic()
            self.waiting.pop(key, None)
        elif event.state == "running":
            self.share[key] = event.share
            if not self.console.is_terminal and time.monotonic() - self.printed > EVERY:
                running = ", ".join(f"{share:.0%}" for share in self.share.values())
                self._print(f"running ({running})")
        else:
            seconds = time.monotonic() - self.began.pop(key, time.monotonic())
            self.share.pop(key, None)
            line = self._end(event, seconds)
            self._print(line)

    def _print(self, line: str) -> None:
        self.printed = time.monotonic()
        total = len(self.plan.todo)
        done = total - len(self.waiting) - len(self.began)
        self.console.print(f"[{done}/{total}] {line}; {self.remaining()}", markup=False, highlight=False)

    def _end(self, event: Event, seconds: float) -> str:
        """Note how a cell ended; a line that tells it."""
        if event.state == "refused":
            self.refused[event.reason] += 1
            return f"{event.cell}: not run: {event.reason}"
        if event.state == "busy":
            return f"{event.cell}: left to another process that is at it"
        if event.state == "stopped":
            return f"{event.cell}: stopped"
        self.ended += 1
        self.plan.learn(event.cell, seconds)
        record = records.find(Path(event.cell.config.results), event.cell.key) or {"status": "failed"}
        if record["status"] == "done":
            return f"{event.cell}: {_headline(record)}"
        line = f"{event.cell}: {record['status']}: {event.reason}"
        if record["status"] in AGAIN:
            self.failed.append(line)
        return line

    def remaining(self) -> str:
        """How long the rest may take, in words."""
        if not self.waiting and not self.began:
            return "all done"
        running = [self._rest(cell) for cell in self.plan.todo if cell.key in self.began]
        waiting = self.plan.expected(self.waiting.values(), 1)
        if waiting is None or any(rest is None for rest in running):
            return "time unknown yet"
        return f"{span((waiting + sum(r for r in running if r is not None)) / self.jobs)} left"

    def _rest(self, cell: Cell) -> float | None:
        """Seconds that a running cell may still take."""
        share, elapsed = self.share.get(cell.key, 0.0), time.monotonic() - self.began[cell.key]
        if share > EARLY:
            self.plan.seconds.setdefault(cell.table, elapsed / share)
            return elapsed * (1 - share) / share
        known = self.plan.seconds.get(cell.table)
        return None if known is None else max(known - elapsed, 0.0)

    def close(self, stopped: bool) -> int:
        """Say what is left to do or to mend; the exit status of the sweep."""
        for reason, count in self.refused.items():
            self.console.print(f"{count} cells not run: {reason}", markup=False, highlight=False)
        if self.failed:
            self.console.print(f"{len(self.failed)} cells failed; launch.retry=true runs them again")
        if stopped:
            missing = len(self.plan.todo) - self.ended
            self.console.print(f"stopped with {missing} cells to do; the same command goes on")
            return 130
        return 2 if self.refused else 1 if self.failed else 0


def _headline(record: records.Record) -> str:
    """A finished record in a few words."""
    seconds = f"{record['provenance']['wall_s']:.0f} s"
    test = (record.get("metrics") or {}).get("test") or {}
    name = next(iter(sorted(test, key=lambda k: k != "top1")), None)
    return f"test {name} {test[name]:.2f}, {seconds}" if name else seconds
