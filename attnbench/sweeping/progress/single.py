"""One cell in this process, with its progress on the terminal."""

import os
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from attnbench import records
from attnbench.cell import Cell
from attnbench.errors import UserError
from attnbench.running import Busy, Watcher, run
from attnbench.sweeping.signals import on_signals
from attnbench.training.loop import Stopped


def run_shown(cell: Cell, console: Console) -> dict[str, Any]:
    """Run a cell; its record. Raises `UserError` where it is impossible, `KeyboardInterrupt` where someone
    stopped it: its checkpoint is kept.
    """
    quiet = os.environ.get("RANK", "0") != "0"
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeRemainingColumn(),
    )
    hidden = quiet or not console.is_terminal
    with (
        on_signals() as stop,
        Progress(*columns, console=console, transient=True, disable=hidden) as progress,
    ):
        bar = progress.add_task("profiling", total=None)

        def epoch(row: dict[str, float]) -> None:
            if not quiet:
                console.print(_line(row, cell.config.recipe.epochs), markup=False)

        def steps(done: int, total: int) -> None:
            progress.update(bar, description="training", completed=done, total=total)

        def note(text: str) -> None:
            if not quiet:
                console.print(text, markup=False)

        watcher = Watcher(steps, epoch, stop, note, by_hand=True)
        try:
            return run(cell, watcher, records.stamp(Path(cell.config.results), cell.key))
        except Busy:
            raise UserError("another process is running this cell; wait for it, or stop it first") from None
        except Stopped:
            raise KeyboardInterrupt from None


def _line(row: dict[str, float], epochs: int) -> str:
    values = [f"{k.replace('_', ' ')} {v:.3g}" for k, v in row.items() if k != "epoch"]
    return f"epoch {row['epoch']:.0f}/{epochs}: {', '.join(values)}"
