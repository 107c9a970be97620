"""Sends every signal to a worker at every moment of a cell: every record is that of an undisturbed sweep."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from attnbench.sweeping import experiment, sweep
from attnbench.sweeping.executors import local
from tests.faults import CELLS

ASKED = ("SIGTERM", "SIGINT", "SIGUSR2")  # a worker saves its cell and ends
FATAL = ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGQUIT", "SIGABRT", "SIGSEGV")  # it is gone
MOMENTS = ("starting", "training", "validating", "testing", "writing")
ALL = tuple((name, moment) for name in (*ASKED, *FATAL) for moment in MOMENTS)


def trial(
    folder: Path, plan: Sequence[tuple[str, str]], *words: str, rank: int = 0
) -> tuple[int, str, list[str]]:
    """A sweep of a cell for each signal and moment: exit status, output, signals that were sent."""
    marks = folder / "marks"
    marks.mkdir(parents=True)
    os.environ["ATTNBENCH_TEST_SIGNALS"] = json.dumps(dict(enumerate(plan)))
    os.environ["ATTNBENCH_TEST_MARKS"] = str(marks)
    os.environ["ATTNBENCH_TEST_RANK"] = str(rank)
    before, local.COMMAND = local.COMMAND, [sys.executable, "-m", "tests.faults.signalled_worker"]
    try:
        status, printed = run(folder, len(plan), "processes", *words)
    finally:
        local.COMMAND = before
    return status, printed, sorted(mark.name.partition("-")[2] for mark in marks.iterdir())


def run(folder: Path, cells: int, executor: str, *words: str) -> tuple[int, str]:
    """A sweep of so many cells: its exit status, and what it printed."""
    seeds = ",".join(map(str, range(cells)))
    folders = [f"results={folder}", f"runs={folder / 'runs'}"]
    wanted = experiment.grid([*CELLS, "attn=se", "recipe.epochs=4", f"seed={seeds}", *words, *folders])
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=200, file=nowhere)
        launch = replace(wanted[0].config.launch, executor=executor, jobs=2)
        return sweep(wanted, launch, console), console.export_text()
