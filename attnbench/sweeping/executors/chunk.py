"""Some cells for one job of a cluster, and how they run there: in workers beside the job's own process."""

import io
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

from attnbench.cell import Cell
from attnbench.config.launch import Launch
from attnbench.config.schema import Config
from attnbench.sweeping.executors.events import Event, Work
from attnbench.sweeping.executors.local import Pool
from attnbench.sweeping.executors.seats import accelerators
from attnbench.sweeping.signals import Stop

PATIENCE_S = 60.0  # for a worker to save its cell, before it is killed
REQUEUE_S = 5.0  # for the cluster to report that a terminated job will be queued again


@dataclass
class Chunk:
    """Cells as plain settings, so that it can be sent; `seen` as in `Work`."""

    configs: list[dict[str, Any]]
    launch: dict[str, Any]
    seen: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, cells: Sequence[Cell], launch: Launch, seen: Mapping[str, int]) -> "Chunk":
        """The cells, their folders named for every machine."""
        configs = [asdict(_anywhere(cell.config)) for cell in cells]
        local = replace(launch, executor="processes", jobs=launch.per_job)
        return cls(configs, asdict(local), {c.key: seen[c.key] for c in cells if c.key in seen})

    def run(self) -> None:
        """Run the cells; a termination saves those that run and ends."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # of a letter that a node's locale does not know
        stop = Stop()
        cells = [Cell(Config.restore(config)) for config in self.configs]
        launch = Launch(**self.launch)
        if not accelerators():
            launch = replace(launch, jobs=launch.jobs or 1)
        self._pool = Pool(Work(cells, launch, stop, self.seen, PATIENCE_S))

        def terminate(number: int, frame: FrameType | None) -> None:
            if not stop.asked:
                stop.ask()

        with suppress(ValueError):  # not in the main thread: the cluster ends jobs in its own way
            signal.signal(signal.SIGTERM, terminate)
        self._pool.run(_print)
        if stop.asked:
            time.sleep(REQUEUE_S)

    def halt(self) -> None:
        """Save the cells that run, and end their workers."""
        self._pool.work.stop.ask()
        self._pool.wait(PATIENCE_S)


def _print(event: Event) -> None:
    if event.state not in ("running", "waiting"):
        print(f"{event.state}: {event.cell} {event.reason}".rstrip())
        sys.stdout.flush()


def _anywhere(config: Config) -> Config:
    """The configuration with absolute paths: a job may start in another folder."""
    data = config.data
    if data.root is not None:
        data = replace(data, root=str(Path(os.path.expanduser(data.root)).absolute()))
    results, runs = (str(Path(folder).absolute()) for folder in (config.results, config.runs))
    return replace(config, data=data, results=results, runs=runs)
