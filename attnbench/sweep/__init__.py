"""An experiment's cells, handed to an executor."""

import os
from collections.abc import Sequence

from rich.console import Console

from attnbench.cell import Cell
from attnbench.config import Launch
from attnbench.sweep import executors
from attnbench.sweep.board import Board
from attnbench.sweep.plan import Plan
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
        board = Board(plan, jobs, console)
        board.follow(events)
        return board.close(stop.asked)
