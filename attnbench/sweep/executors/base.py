"""Who runs a sweep's cells. Each takes work, tells what becomes of every cell, and ends with the last."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from attnbench.sweep.executors.events import Event, Hear, Work


def inline(work: Work, hear: Hear) -> None:
    """One cell after another in this process."""
    from attnbench.sweep.executors.worker import attempt

    for cell in work.cells:
        if work.stop():
            return

        def tell(cell: Any = cell, **event: Any) -> None:
            hear(Event(cell, worker="1", **event))

        tell(state="started")
        state, reason = attempt(cell, work.stop, tell, work.seen.get(cell.key))
        tell(state=state, reason=reason)
        if state == "unwritable":
            work.stop.ask()


def processes(work: Work, hear: Hear) -> None:
    """Several processes beside this one."""
    from attnbench.sweep.executors.local import Pool

    Pool(work).run(hear)


def cluster(name: str) -> Callable[[Work, Hear], None]:
    """The executor that hands chunks of cells to the machines of a cluster."""

    def run(work: Work, hear: Hear) -> None:
        from attnbench.sweep.executors.cluster import Remote

        engine = import_module(f"{__package__}.{name}").Engine(work.launch, work.cells[0].config.runs)
        Remote(work, engine).run(hear)

    return run


EXECUTORS: Mapping[str, Callable[[Work, Hear], None]] = {
    "inline": inline,
    "processes": processes,
    "slurm": cluster("slurm"),
    "ray": cluster("ray"),
}
