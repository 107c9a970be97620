"""What executors tell of cells, and the order in which they hand them out."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from attnbench.cell import Cell, fingerprint
from attnbench.config.launch import Launch
from attnbench.sweeping.signals import Stop

AGAIN_S = 1.0  # before a cell that another process holds, or that took its process with it, is tried again


@dataclass(frozen=True)
class Event:
    """Something that happened to a cell; `ended` has left a record."""

    cell: Cell
    state: str  # started, running, note, waiting; then ended, refused, unrecorded, unwritable, stopped
    reason: str = ""
    worker: str = ""  # who runs it
    share: float = 0.0  # of its training that is done, while running
    figures: Mapping[str, Any] = field(default_factory=dict)  # epoch, loss, metric and its value, where known


@dataclass(frozen=True)
class Work:
    """A chunk of cells, and how to run it; `seen` as in `running.run`, for each cell that had a record."""

    cells: Sequence[Cell]
    launch: Launch
    stop: Stop
    seen: Mapping[str, int] = field(default_factory=dict)
    patience: float = 3.5  # s, for a worker that was asked to stop to save its cell; then it is killed


Hear = Callable[[Event], None]
Tell = Callable[..., None]  # takes the fields of an Event but its cell


class Waiting:
    """Cells that wait for a worker; several threads take them."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = list(cells)
        self.delayed: list[tuple[float, Cell]] = []
        self.lock = threading.Lock()

    def take(self, last: Cell | None) -> Cell | None:
        """The next cell, of the last one's data if there is any; None when none can be had now."""
        with self.lock:
            now = time.monotonic()
            self.cells += [cell for due, cell in self.delayed if due <= now]
            self.delayed = [(due, cell) for due, cell in self.delayed if due > now]
            wanted = None if last is None else data_of(last)
            alike = (at for at, cell in enumerate(self.cells) if wanted in (None, data_of(cell)))
            return self.cells.pop(next(alike, 0)) if self.cells else None

    def later(self, cell: Cell) -> None:
        """Put a cell back, to be tried again in a while."""
        with self.lock:
            self.delayed.append((time.monotonic() + AGAIN_S, cell))

    @property
    def empty(self) -> bool:
        with self.lock:
            return not self.cells and not self.delayed


def data_of(cell: Cell) -> str:
    """What cells that can share their loaded data have in common."""
    key = cell.__dict__.get("_data")
    if key is None:
        key = fingerprint({"data": vars(cell.config.data), "task": cell.config.task.name})
        cell.__dict__["_data"] = key
    return key
