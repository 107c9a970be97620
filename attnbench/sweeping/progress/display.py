"""What a person sees of a sweep: a line for each cell that ends, a bar, and a line for each worker."""

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from attnbench import records
from attnbench.records.pace import Likeness, likeness, many, span
from attnbench.report.load import number
from attnbench.report.tables.metrics import headline, resized
from attnbench.sweeping.executors.events import Event
from attnbench.sweeping.plan import AGAIN, Plan
from attnbench.sweeping.progress.registry import Book, Entry

EARLY = 0.02  # share of a cell below which its pace says nothing
EVERY_S = 60.0  # between lines about running cells where there is no terminal to draw on
NAMED = 10  # cells without a record that are named in the end
AROUND = 4  # lines of the terminal that workers' lines leave free


class Board:
    """Hears a sweep's events and shows them."""

    def __init__(self, plan: Plan, jobs: int, executor: str, console: Console) -> None:
        self.plan, self.jobs, self.console = plan, jobs, console
        self.waiting = {cell.key: likeness(cell) for cell in plan.todo}
        self.kinds = Counter(self.waiting.values())
        self.running: dict[str, Event] = {}  # the last event of each
        self.began: dict[str, float] = {}
        self.ended: set[str] = set()  # keys of the cells that left a record
        self.failed: list[str] = []
        self.refused: Counter[str] = Counter()
        self.printed = time.monotonic()
        self.book = Book(Path(plan.todo[0].config.runs), Entry(executor, jobs, len(plan.todo)))
        self.live = Live(get_renderable=self._draw, console=console, transient=True)

    def __enter__(self) -> "Board":
        self.book.write()
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self.live.stop()
        self.book.close()

    def hear(self, event: Event) -> None:
        """Take in an event."""
        key = event.cell.key
        if event.state == "note":
            self._print(f"{event.cell}: {event.reason}")
        elif event.state in ("started", "running"):
            self.began.setdefault(key, time.monotonic())
            self.running[key] = event
            self._wait(key, None)
        elif event.state == "waiting":
            self._leave(key)
            self._wait(key, likeness(event.cell))
        else:
            seconds = time.monotonic() - self.began.get(key, time.monotonic())
            self._leave(key)
            self._wait(key, None)
            self._print(self._end(event, seconds))
        if not self.console.is_terminal and time.monotonic() - self.printed > EVERY_S:
            self._print("; ".join(map(_line, self.running.values())) or "nothing runs")
        self.book.write(ended=len(self.ended), failed=len(self.failed), left=self.remaining())

    def _leave(self, key: str) -> None:
        self.running.pop(key, None)
        self.began.pop(key, None)

    def _wait(self, key: str, kind: Likeness | None) -> None:
        """Note that a cell waits, or no longer does."""
        if (before := self.waiting.pop(key, None)) is not None:
            self.kinds[before] -= 1
        if kind is not None:
            self.waiting[key] = kind
            self.kinds[kind] += 1

    @property
    def done(self) -> int:
        return len(self.plan.todo) - len(self.waiting) - len(self.running)

    def _print(self, line: str) -> None:
        self.printed = time.monotonic()
        count = f"[{self.done}/{len(self.plan.todo)}]"
        self.console.print(f"{count} {line}; {self.remaining()}", markup=False, highlight=False)

    def _draw(self) -> RenderableType:
        """The bar, and below it a line for each worker, as many as there is room for."""
        total = len(self.plan.todo)
        shares = sum(event.share for event in self.running.values())
        failures = f", {len(self.failed)} failed" if self.failed else ""
        words = f"{self.done}/{total}{failures}, {self.remaining()}"
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total, self.done + shares, width=30), Text(words))
        room = max(self.console.height - AROUND, 1)
        events = sorted(self.running.values(), key=lambda event: (len(event.worker), event.worker))
        lines = [Text(f"{e.worker}: {_line(e)}", no_wrap=True, overflow="ellipsis") for e in events[:room]]
        return Group(bar, *lines)

    def _end(self, event: Event, seconds: float) -> str:
        """Note how a cell ended; a line that tells it."""
        if event.state in ("refused", "unwritable"):
            self.refused[event.reason] += 1
            return f"{event.cell}: not run: {event.reason}"
        if event.state == "unrecorded":
            return f"{event.cell}: no record: {event.reason}"
        if event.state == "stopped":
            return f"{event.cell}: stopped"
        self.ended.add(event.cell.key)
        record = records.find(Path(event.cell.config.results), event.cell.key) or {"status": "failed"}
        if record["status"] == "done":
            self.plan.pace.learn(likeness(event.cell), seconds)
            return f"{event.cell}: {_headline(record)}"
        line = f"{event.cell}: {record['status']}: {event.reason or record.get('reason')}"
        if record["status"] in AGAIN:
            self.failed.append(line)
        return line

    def remaining(self) -> str:
        """How long the rest may take, in words."""
        if not self.waiting and not self.running:
            return "all done"
        running = [self._rest(event) for event in self.running.values()]
        waiting, unknown = self.plan.pace.total(+self.kinds)
        if unknown or any(rest is None for rest in running):
            return "time unknown yet"
        return f"{span((waiting + sum(r for r in running if r is not None)) / self.jobs)} left"

    def _rest(self, event: Event) -> float | None:
        """Seconds that a running cell may still take."""
        share, elapsed = event.share, time.monotonic() - self.began[event.cell.key]
        if share > EARLY:
            return elapsed * (1 - share) / share
        known = self.plan.pace.expect(likeness(event.cell))
        return None if known is None else max(known - elapsed, 0.0)

    def close(self, stopped: bool) -> int:
        """Say what is left to do or to mend; the exit status of the sweep."""
        for reason, count in self.refused.items():
            self.console.print(f"{many(count)} not run: {reason}", markup=False, highlight=False)
        if self.failed:
            self.console.print(f"{many(len(self.failed))} failed; launch.retry=true runs them again")
        if stopped and not self.refused:
            missing = many(len(self.plan.todo) - len(self.ended))
            self.console.print(f"stopped with {missing} to do; the same command goes on")
            return 130
        if self.refused:
            return 2
        if undone := [cell for cell in self.plan.todo if cell.key not in self.ended]:
            names = "; ".join(map(str, undone[:NAMED])) + ("; ..." if len(undone) > NAMED else "")
            again = f"the same command runs {'them' if len(undone) > 1 else 'it'} again"
            line = f"{many(len(undone))} not done: {names}; {again}"
            self.console.print(line, markup=False, highlight=False)
        return 1 if self.failed or undone else 0


def _line(event: Event) -> str:
    """A running cell in a line: its name, epoch, loss and metric."""
    return f"{event.cell}{progress(event.figures, event.share)}"


def progress(known: Mapping[str, Any], share: float) -> str:
    """Epoch, loss and metric, as far as they are known."""
    parts = [f"{share:.0%}"] if share else []
    if known.get("epoch"):
        parts.append(f"epoch {known['epoch']}/{known['epochs']}")
    if known.get("loss") is not None:
        parts.append(f"loss {known['loss']:.3f}")
    if known.get("metric"):
        parts.append(f"{known['metric']} {known['value']:.2f}")
    return ": " + ", ".join(parts) if parts else ""


def _headline(record: records.Record) -> str:
    """A finished record in a few words."""
    seconds = f"{record['provenance']['wall_s']:.0f} s"
    metric = headline(record["cell"]["task"])
    value = metric and number(record, "metrics", "test", metric.key)
    return (
        seconds
        if metric is None or value is None
        else f"test {metric.at(resized(record)).name} {value:.2f}, {seconds}"
    )
