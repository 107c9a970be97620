"""Sweeps on a cluster: chunks of cells are handed in as jobs; what becomes of them is read from the store.

Nothing is asked of a job but whether it still exists, so that a driver that died can be started again and
finds the jobs of the one before. Cells are locked, and the first record of a cell stands: what happens to run
twice, because a lost node came back, is recorded once.
"""

import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from attnbench import records
from attnbench.cell import Cell
from attnbench.errors import Unwritable
from attnbench.sweeping.executors.chunk import Chunk
from attnbench.sweeping.executors.events import Event, Hear, Work
from attnbench.sweeping.executors.retries import give_up
from attnbench.sweeping.progress.heartbeat import read
from attnbench.sweeping.progress.registry import FOLDER

JOBS = 16  # at a time, by default
LARGEST = 50  # cells of a chunk, by default
SHARES = 4  # chunks for each job that runs at a time, so that none is left waiting for a long one
TRIES = 3  # jobs that may be lost over a cell
LOOKS = 3  # at the store, after a job is gone, before its cells count as lost: shared folders are slow


class Jobs(Protocol):
    """What a cluster can do."""

    lasting: bool  # whether jobs outlive the driver
    logs: str  # where to read what they printed

    def submit(self, chunks: Sequence[Chunk]) -> list[str]:
        """Hand in chunks; a name for each job."""

    def alive(self) -> set[str] | None:
        """The jobs that wait or run; None where the cluster does not answer now."""

    def cancel(self, jobs: Sequence[str]) -> None:
        """Let jobs save what they run, and end them."""


class Remote:
    """Follows the jobs of one sweep."""

    def __init__(self, work: Work, jobs: Jobs) -> None:
        self.work, self.jobs = work, jobs
        self.launch = work.launch
        self.free: dict[str, Cell] = {cell.key: cell for cell in work.cells}
        self.flying: dict[str, dict[str, Cell]] = {}  # job -> its cells that have not ended
        self.gone: Counter[str] = Counter()  # job -> looks since it was seen last
        self.lost: Counter[str] = Counter()  # cell -> jobs lost over it
        self.since = time.time()
        self.begun: set[str] = set()
        self.file = Path(work.cells[0].config.runs) / FOLDER / f"jobs-{self.launch.executor}"

    def run(self, hear: Hear) -> None:
        """Tell all events until every cell has ended, or someone asks to stop."""
        self.hear = hear
        if self.jobs.lasting:
            self._adopt()
        while (self.free or self.flying) and not self.work.stop():
            if self.free:
                self._submit()
            self._sleep()
            self._look(self.jobs.alive())
        if self.flying:
            self.jobs.cancel(list(self.flying))
            self._enter()

    def _adopt(self) -> None:
        """Take over the jobs that an earlier driver left behind."""
        try:
            known = json.loads(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        alive = self.jobs.alive()
        for job, keys in known.items():
            cells = {key: self.free.pop(key) for key in keys if key in self.free}
            if cells and (alive is None or job in alive):
                self.flying[job] = cells
            else:
                self.free |= cells
        for job, cells in self.flying.items():
            first = next(iter(cells.values()))
            self.hear(Event(first, "note", f"job {job} with {len(cells)} cells was found, and goes on"))

    def _submit(self) -> None:
        cells = list(self.free.values())
        jobs = self.launch.jobs or JOBS
        size = self.launch.chunk or min(max(len(cells) // (SHARES * jobs), 1), LARGEST)
        parts = [[c] for c in cells if self.lost[c.key]]  # one that may have lost its job goes alone
        rest = [c for c in cells if not self.lost[c.key]]
        parts += [rest[at : at + size] for at in range(0, len(rest), size)]
        names = self.jobs.submit([Chunk.of(part, self.launch, self.work.seen) for part in parts])
        for name, part in zip(names, parts):
            self.flying[name] = {cell.key: cell for cell in part}
        self.free.clear()
        self._enter()

    def _enter(self) -> None:
        """Write down which job has which cells, for the next driver."""
        if not self.jobs.lasting:
            return
        text = json.dumps({job: list(cells) for job, cells in self.flying.items()})
        with suppress(Unwritable):
            records.write_whole(self.file, text.encode())

    def _sleep(self) -> None:
        until = time.monotonic() + self.launch.poll_s
        while time.monotonic() < until and not self.work.stop():
            time.sleep(0.1)

    def _look(self, alive: set[str] | None) -> None:
        """See which cells have ended, how the others stand, and which jobs are gone."""
        for job in list(self.flying):
            cells = self.flying[job]
            for cell in list(cells.values()):
                if self._ended(cell, job):
                    del cells[cell.key]
            self.gone[job] = 0 if alive is None or job in alive else self.gone[job] + 1
            if not cells:
                del self.flying[job]
            elif self.gone[job] >= LOOKS:
                self._give_back(job)
        self._enter()

    def _ended(self, cell: Cell, job: str) -> bool:
        """Whether a cell has come to its end; tells what there is to tell of it."""
        stamp = records.path(Path(cell.config.results), cell.key)
        if stamp.exists() and records.stamp(stamp.parent.parent, cell.key) != self.work.seen.get(cell.key):
            self.hear(Event(cell, "ended", worker=job))
            return True
        state = read(Path(cell.config.runs) / cell.key)
        if state is None or (state["updated"] < self.since and state["state"] != "running"):
            return False
        if state["state"] in ("refused", "unwritable", "unrecorded"):
            self.hear(Event(cell, state["state"], state["reason"], job))
            if state["state"] == "unwritable":
                self.work.stop.ask()
            return True
        if state["state"] == "running":
            self._running(cell, job, state)
        return False

    def _running(self, cell: Cell, job: str, state: dict[str, Any]) -> None:
        if cell.key not in self.begun:
            self.begun.add(cell.key)
            self.hear(Event(cell, "started", worker=job))
        self.hear(Event(cell, "running", worker=job, share=state["share"], figures=state["figures"]))

    def _give_back(self, job: str) -> None:
        """Free the cells of a job that is gone; those it was at, or all if none began, may be to blame."""
        cells = self.flying.pop(job)
        states = {key: read(Path(cell.config.runs) / key) or {} for key, cell in cells.items()}
        blamed = {key for key, state in states.items() if state.get("state") == "running"}
        if not blamed and not self.begun & cells.keys():
            blamed = set(cells)
            text = f"job {job} ended before one of its {len(cells)} cells began: see {self.jobs.logs}"
            self.hear(Event(next(iter(cells.values())), "note", text))
        for key, cell in cells.items():
            self.lost[key] += key in blamed
            if self.lost[key] < TRIES:
                self.free[key] = cell
                if key in self.begun:
                    self.begun.discard(key)
                    self.hear(Event(cell, "waiting", f"job {job} is gone; it is tried again", job))
            else:
                reason = f"its job ended {TRIES} times without a record: see {self.jobs.logs}"
                self.hear(Event(cell, *give_up(cell, reason, self.work.seen.get(key)), worker=job))
