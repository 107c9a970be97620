"""How sweeps stand, read from the store by whoever looks: records, sweeps under way, cells, failures."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attnbench.cell import Cell
from attnbench.records.index import opened
from attnbench.records.pace import many, span
from attnbench.sweeping.plan import AGAIN, Plan
from attnbench.sweeping.progress import registry
from attnbench.sweeping.progress.display import progress
from attnbench.sweeping.progress.heartbeat import FILE, alive, read

SILENT_S = 120.0  # after which a cell of another machine counts as interrupted
FAILURES = 10  # that are shown


def lines(results: Path, runs: Path, cells: Sequence[Cell] = ()) -> Iterator[str]:
    """The state of the store in these folders and, where cells are given, the plan of their sweep."""
    with opened(results) as index:
        ends, damaged, failed = index.ends(), index.damaged(), index.newest(AGAIN, FAILURES)
    counts = ", ".join(f"{n} {end}" for end, n in sorted(ends.items(), key=lambda e: (e[0] != "done", e)))
    yield f"{results}: {sum(ends.values())} records" + (f" ({counts})" if counts else "")
    yield from (f"  damaged: {file}: {why}" for file, why in damaged.items())
    sweeps = list(registry.read(runs))
    for entry, runs_on in sweeps:
        yield f"  {_sweep(entry, runs_on)}"
    if cells:
        jobs = sum(entry.jobs for entry, runs_on in sweeps if runs_on is not False) or 1
        yield f"{many(len(cells))}: {Plan.of(cells, retry=False).describe(jobs)}"
    yield from _cells(runs)
    for end in failed:
        words = " ".join(
            str(end.names[name]) for name in ("task", "data", "backbone", "attn") if end.names[name]
        )
        log = runs / end.key / "log.txt"
        where = f" ({log})" if log.is_file() else ""
        yield f"  {end.status}: {words} seed {end.names['seed']}: {end.reason}{where}"


def _sweep(entry: registry.Entry, runs_on: bool | None) -> str:
    which = f"sweep of process {entry.pid} on {entry.host}"
    if runs_on is False:
        return f"{which} terminated unexpectedly; the same command goes on from there"
    failures = f", {entry.failed} failed" if entry.failed else ""
    ago = span(max(time.time() - entry.updated, 0.0))
    return (
        f"{which}: {entry.ended} of {many(entry.to_run)} run{failures}, {entry.left or 'starting'} "
        f"({entry.executor}, {entry.jobs} at a time; {ago} ago)"
    )


def _cells(runs: Path) -> Iterator[str]:
    """The cells that run now, and those that were interrupted or refused."""
    states = [state for folder in sorted(runs.glob(f"*/{FILE}")) if (state := read(folder.parent))]
    running = [state for state in states if _runs(state)]
    for state in running:
        ago = span(max(time.time() - state["updated"], 0.0))
        where = f"process {state['pid']} on {state['host']}, {ago} ago"
        yield f"  running: {state['cell']}{progress(state['figures'], state['share'])} ({where})"
    for state in states:
        if state["state"] in ("refused", "unwritable", "unrecorded"):
            yield f"  not run: {state['cell']}: {state['reason']}"
        elif state not in running:
            yield f"  interrupted: {state['cell']}, at {state['share']:.0%}; goes on when asked for"


def _runs(state: dict[str, Any]) -> bool:
    if state["state"] != "running":
        return False
    known = alive(state["pid"], state["host"])
    return time.time() - state["updated"] < SILENT_S if known is None else known
