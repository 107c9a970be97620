"""An experiment's cells, handed to an executor: the progress, and what came of it."""

import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from attnbench import records
from attnbench.cell import Cell
from attnbench.config import Launch
from attnbench.sweep import executors
from attnbench.sweep.executors import Event
from attnbench.sweep.plan import AGAIN, Plan, span
from attnbench.sweep.stop import on_signals


def sweep(cells: Sequence[Cell], launch: Launch, console: Console, dry: bool = False) -> int:
    """Run what has no record yet; the exit status: 0, 1 cells failed, 2 cells were refused, 130 stopped."""
    plan = Plan.of(cells, launch.retry)
    jobs = 1 if launch.executor == "inline" else launch.jobs or os.cpu_count() or 1
    console.print(f"{len(cells)} cells: {plan.describe(jobs)}")
    if dry:
        for cell in plan.todo:
            console.print(f"  {cell}", highlight=False)
        return 0
    if not plan.todo:
        return 0
    with on_signals() as stop:
        if launch.executor == "inline":
            events = executors.inline(plan.todo, stop)
        else:
            events = executors.processes(plan.todo, stop, launch)
        came = _follow(events, plan, jobs, console)
        return _close(came, plan, stop.asked, console)


@dataclass
class _Came:
    """What came of the cells so far."""

    ended: int = 0
    failed: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    busy: int = 0


def _follow(events: Iterable[Event], plan: Plan, jobs: int, console: Console) -> _Came:
    """Show progress until the events end."""
    came, left = _Came(), {c.key: c for c in plan.todo}
    began: dict[str, float] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("starting", total=len(plan.todo))
        for event in events:
            if event.state == "started":
                began[event.cell.key] = time.monotonic()
                continue
            left.pop(event.cell.key, None)
            line = _take(event, came)
            plan.learn(event.cell, time.monotonic() - began.get(event.cell.key, time.monotonic()))
            expected = plan.expected(left.values(), jobs)
            remaining = f"{span(expected)} left" if expected else "running"
            progress.update(bar, advance=1, description=remaining)
            count = f"[{len(plan.todo) - len(left)}/{len(plan.todo)}]"
            console.print(f"{count} {line}; {remaining}", markup=False, highlight=False)
    return came


def _take(event: Event, came: _Came) -> str:
    """Note an event; a line that tells it."""
    if event.state == "refused":
        came.refused[event.reason] += 1
        return f"{event.cell}: not run: {event.reason}"
    if event.state == "busy":
        came.busy += 1
        return f"{event.cell}: left to another process that is at it"
    if event.state == "stopped":
        return f"{event.cell}: stopped"
    record = records.find(Path(event.cell.config.results), event.cell.key)
    status = record["status"] if record else "failed"
    came.ended += 1
    if status != "done":
        line = f"{event.cell}: {status}: {event.reason}"
        if status in AGAIN:
            came.failed.append(line)
        return line
    return f"{event.cell}: {_headline(record or {})}"


def _headline(record: records.Record) -> str:
    """A finished record in a few words."""
    seconds = f"{record['provenance']['wall_s']:.0f} s"
    test = (record.get("metrics") or {}).get("test") or {}
    name = next(iter(sorted(test, key=lambda k: k != "top1")), None)
    return f"test {name} {test[name]:.2f}, {seconds}" if name else seconds


def _close(came: _Came, plan: Plan, stopped: bool, console: Console) -> int:
    missing = len(plan.todo) - came.ended
    for reason, count in came.refused.items():
        console.print(f"{count} cells not run: {reason}", markup=False, highlight=False)
    if came.failed:
        console.print(
            f"{len(came.failed)} cells failed; their records say why (launch.retry=true tries again)"
        )
    if stopped:
        console.print(f"stopped with {missing} cells to do; the same command goes on")
        return 130
    return 2 if came.refused else 1 if came.failed else 0
