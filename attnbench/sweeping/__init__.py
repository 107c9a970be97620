"""An experiment's cells, handed to an executor."""

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from attnbench import records
from attnbench.cell import Cell
from attnbench.config.launch import Launch
from attnbench.errors import UserError
from attnbench.records.pace import many
from attnbench.sweeping.executors.base import EXECUTORS
from attnbench.sweeping.executors.events import Work
from attnbench.sweeping.executors.seats import environments
from attnbench.sweeping.plan import Plan
from attnbench.sweeping.progress.display import Board
from attnbench.sweeping.signals import on_signals

CLUSTER_JOBS = 16  # at a time, by default


def sweep(cells: Sequence[Cell], launch: Launch, console: Console, dry: bool = False) -> int:
    """Run what has no record yet; the exit status: 0, 1 cells failed, 2 cells were refused, 130 stopped.

    Cells count as failed, too, that did so before and are not run again.
    Raises `UserError` where nothing can run or be recorded at all.
    """
    check_alone()
    plan = Plan.of(cells, launch.retry)
    jobs = workers(launch, len(plan.todo))
    console.print(f"{many(len(cells))}: {plan.describe(jobs)}", markup=False)
    for file, why in plan.damaged.items():
        console.print(f"damaged record {file} ({why}): counts as none, is kept aside", markup=False)
    if plan.failed:
        console.print(f"{many(plan.failed)} failed before; launch.retry=true runs them again")
    if dry:
        for cell in plan.todo:
            console.print(f"  {cell}", highlight=False, markup=False)
        return 0
    for results in dict.fromkeys(cell.config.results for cell in cells):
        records.check_writable(Path(results))
    plan.settle()
    if not plan.todo:
        return int(plan.failed > 0)
    with on_signals() as stop, Board(plan, jobs, launch.executor, console) as board:
        try:
            EXECUTORS[launch.executor](Work(plan.todo, launch, stop, plan.seen), board.hear)
        except KeyboardInterrupt:
            stop.asked = True
    return board.close(stop.asked) or int(plan.failed > 0)


def check_alone() -> None:
    """Raise `UserError` in one of several processes, each of which would run the whole sweep."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("torchrun runs one cell; start a sweep without it, with launch.processes=2 or more")


def workers(launch: Launch, cells: int) -> int:
    """How many cells run at a time."""
    if launch.executor == "inline":
        return 1
    if launch.executor == "processes":
        return len(environments(launch, cells))
    return min((launch.jobs or CLUSTER_JOBS) * (launch.per_job or 1), max(cells, 1))
