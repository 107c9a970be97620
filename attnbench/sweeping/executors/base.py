"""Who runs a sweep's cells. Each takes work, tells what becomes of every cell, and ends with the last."""

import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from attnbench.sweeping.executors.events import AGAIN_S, Event, Hear, Waiting, Work
from attnbench.sweeping.executors.retries import Retries


def inline(work: Work, hear: Hear) -> None:
    """One cell after another in this process."""
    from attnbench.sweeping.executors.worker import attempt

    waiting, retries = Waiting(work.cells), Retries(work)
    while not waiting.empty and not work.stop():
        cell = waiting.take(None)
        if cell is None:
            time.sleep(AGAIN_S / 5)
            continue

        def tell(cell: Any = cell, **event: Any) -> None:
            hear(Event(cell, worker="1", **event))

        tell(state="started")
        retries.begin(cell)
        end = attempt(cell, work.stop, tell, work.seen.get(cell.key))
        state, reason = retries.settle(cell, *end)
        if state == "again":
            waiting.later(cell)
        tell(state="waiting" if state == "again" else state, reason=reason)
        if state == "unwritable":
            work.stop.ask()


def processes(work: Work, hear: Hear) -> None:
    """Several processes beside this one."""
    from attnbench.sweeping.executors.local import Pool

    Pool(work).run(hear)


def cluster(name: str) -> Callable[[Work, Hear], None]:
    """The executor that hands chunks of cells to the machines of a cluster."""

    def run(work: Work, hear: Hear) -> None:
        from attnbench.sweeping.executors.cluster import Remote

        engine = import_module(f"{__package__}.{name}").Engine(work.launch, work.cells[0].config.runs)
        Remote(work, engine).run(hear)

    return run


EXECUTORS: Mapping[str, Callable[[Work, Hear], None]] = {
    "inline": inline,
    "processes": processes,
    "slurm": cluster("slurm"),
    "ray": cluster("ray"),
}
