"""Cells per minute of a sweep, of one process for each cell, and of Hydra's own multirun.

The cells are as short as cells can be, so that what is compared is everything around training. Overhead is
the workers' time that went neither into training nor into evaluation, per cell, start-up apart; the sweep's
start-up, the import of torch by each worker, is given beside it.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from attnbench import provenance, records
from attnbench.errors import UserError

SHORT = (
    "data.size=16",
    "data.train=192",
    "data.val=64",
    "data.test=64",
    "recipe.batch_size=32",
    "cost.latency=false",
    "cost.memory=false",
    "cost.counters=false",
    "hardware.device=cpu",
)
MECHANISMS = ("none", "se", "eca")
CELLS, JOBS = 60, 2
COLUMNS = ("way", "cells", "seconds", "cells_per_minute", "sweep_is_faster")


def main(arguments: Sequence[str]) -> int:
    """Measure and write results/sweep-speed.md; takes cells=N, jobs=N, single=N and settings of the cells.

    `single` is the number of cells that get a process each (default: all).
    """
    own, words = _own(arguments)
    count, jobs, single = own["cells"], own["jobs"], own["single"] or own["cells"]
    console, rows = Console(highlight=False, soft_wrap=True), []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        ways: list[tuple[str, int, Callable[[], float]]] = [
            (f"sweep, {jobs} workers", count, lambda: _sweep(place / "sweep", count, jobs, words)),
            ("one process a cell", single, lambda: _each(place / "each", single, words)),
            ("Hydra's multirun", count, lambda: _multirun(place / "multirun", count, words)),
        ]
        for at, (way, cells, run) in enumerate(ways):
            console.print(f"{at + 1} of {len(ways)}: {way}, {cells} cells")
            rows.append(_row(way, cells, run()))
        overhead = _overhead(place / "sweep", rows[0]["seconds"], jobs)
    for row in rows:
        row["sweep_is_faster"] = f"{rows[0]['cells_per_minute'] / row['cells_per_minute']:.2f}"
    for row in rows:
        console.print("  ".join(f"{name} {value}" for name, value in row.items()))
    console.print(overhead)
    _write(rows, overhead)
    return 0


def _own(arguments: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    own, words = {"cells": CELLS, "jobs": JOBS, "single": 0}, []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name not in own:
            words.append(argument)
        elif not value.isdecimal():
            raise UserError(f"{argument}: must be a number")
        else:
            own[name] = int(value)
    if own["cells"] % len(MECHANISMS) or own["single"] % len(MECHANISMS):
        raise UserError(f"cells and single: must be multiples of {len(MECHANISMS)}")
    return own, words


def _lists(count: int) -> list[str]:
    seeds = ",".join(str(seed) for seed in range(-(-count // len(MECHANISMS))))
    return [f"attn={','.join(MECHANISMS)}", f"seed={seeds}"]


def _folders(place: Path) -> list[str]:
    return [f"results={place}", f"runs={place / 'runs'}"]


def _timed(commands: Sequence[Sequence[str]]) -> float:
    """Seconds that the commands take, one after another; raises `UserError` where one fails."""
    started = time.perf_counter()
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ})
        if done.returncode:
            raise UserError(f"{' '.join(command)} failed: {done.stderr[-500:]}")
    return time.perf_counter() - started


def _sweep(place: Path, count: int, jobs: int, words: Sequence[str]) -> float:
    """The sweep; `count` has to divide among the mechanisms."""
    launch = ["launch=processes", f"launch.jobs={jobs}"]
    cells = [*SHORT, *words, *_lists(count), *_folders(place)]
    return _timed([[sys.executable, "-m", "attnbench", "-m", *cells, *launch]])


def _each(place: Path, count: int, words: Sequence[str]) -> float:
    """A process for each cell, on all cores."""
    points = [(name, seed) for seed in range(count) for name in MECHANISMS][:count]
    command = [sys.executable, "-m", "attnbench", *SHORT, *words, *_folders(place)]
    cells = [[*command, f"attn={name}", f"seed={seed}"] for name, seed in points]
    return sum(_timed([cell]) for cell in track(cells, description="  "))


def _multirun(place: Path, count: int, words: Sequence[str]) -> float:
    hydra = [f"hydra.sweep.dir={place / 'hydra'}", "hydra.job.chdir=false"]
    cells = [*SHORT, *words, *_lists(count), *_folders(place)]
    return _timed([[sys.executable, "-m", "benchmarks.multirun", "-m", *cells, *hydra]])


def _row(way: str, count: int, seconds: float) -> dict[str, Any]:
    return {
        "way": way,
        "cells": count,
        "seconds": round(seconds, 1),
        "cells_per_minute": round(60 * count / seconds, 2),
    }


def _overhead(place: Path, seconds: float, jobs: int) -> str:
    """What the sweep spent beside training and evaluation, in words."""
    found = [record["provenance"] for record in records.read(place)[0]]
    parts = [origin["seconds"] for origin in found]
    training = [part["train"] + part["test"] for part in parts]
    within = sorted(origin["wall_s"] - busy for origin, busy in zip(found, training))
    cells = sum(origin["wall_s"] for origin in found)
    return (
        f"{sum(training) / len(found):.2f} s of training and evaluation a cell; beside it, in the worker, "
        f"{within[len(within) // 2]:.3f} s (median; the first cell of each worker, which imports, "
        f"{within[-1]:.1f} s); start, hand-over and tables {max(seconds - cells / jobs, 0):.1f} s in all"
    )


def _write(rows: Sequence[dict[str, Any]], overhead: str) -> None:
    import pandas

    table = pandas.DataFrame(rows, columns=list(COLUMNS))
    code, versions = provenance.code(), provenance.versions()
    changed = " with uncommitted changes" if code["dirty"] else ""
    where = f"{provenance.processor()}; torch {versions['torch']}; commit {code['commit']}{changed}."
    head = f"# Sweeps: cells per minute\n\n{__doc__}\n{where}\n\n"
    text = f"{head}{table.to_markdown(index=False)}\n\n{overhead}\n"
    records.write_whole(Path("results/sweep-speed.md"), text.encode())
    records.write_whole(Path("results/sweep-speed.csv"), table.to_csv(index=False).encode())
