"""Who runs a sweep's cells: this process, or several beside it. Each reports what becomes of every cell."""

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from attnbench import records
from attnbench.cell import Cell
from attnbench.config import Launch
from attnbench.sweep.stop import Stop

COMMAND = [sys.executable, "-m", "attnbench.sweep.worker"]
TRIES = 2  # processes that may die over one cell before it is recorded as failed


@dataclass(frozen=True)
class Event:
    """Something that happened to a cell; `ended` has left a record."""

    cell: Cell
    state: str  # started, running; then ended, refused, busy or stopped
    reason: str = ""
    share: float = 0.0  # of its training that is done, while running


def inline(cells: Sequence[Cell], stop: Stop) -> Iterator[Event]:
    """One cell after another in this process."""
    from attnbench.sweep.worker import attempt

    for cell in cells:
        if stop():
            return
        yield Event(cell, "started")
        state, reason = attempt(cell, stop)
        yield Event(cell, state, reason)


def processes(cells: Sequence[Cell], stop: Stop, launch: Launch) -> Iterator[Event]:
    """Several processes beside this one; one that dies takes at most the cell it was at with it."""
    devices = accelerators()
    jobs = min(launch.jobs or len(devices) or os.cpu_count() or 1, len(cells))
    waiting: queue.SimpleQueue[Cell] = queue.SimpleQueue()
    events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
    for cell in cells:
        waiting.put(cell)
    for index in range(jobs):
        work = (waiting, events, stop, _environment(index, jobs, devices))
        threading.Thread(target=_feed, args=work, daemon=True).start()
    running = jobs
    while running:
        event = events.get()
        if event is None:
            running -= 1
        else:
            yield event


def accelerators() -> list[str]:
    """Indices of the NVIDIA GPUs of this machine."""
    if not shutil.which("nvidia-smi"):
        return []
    done = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
    return [str(i) for i, _ in enumerate(done.stdout.splitlines())] if done.returncode == 0 else []


def _environment(index: int, jobs: int, devices: Sequence[str]) -> dict[str, str]:
    threads = max((os.cpu_count() or 1) // jobs, 1)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
    if len(devices) > 1:
        environment["CUDA_VISIBLE_DEVICES"] = devices[index % len(devices)]
    return environment


def _feed(
    waiting: "queue.SimpleQueue[Cell]",
    events: "queue.SimpleQueue[Event | None]",
    stop: Stop,
    environment: dict[str, str],
) -> None:
    """Hand cells to one worker, and to the next one if it dies."""
    worker: _Worker | None = None
    while not stop():
        try:
            cell = waiting.get_nowait()
        except queue.Empty:
            break
        events.put(Event(cell, "started"))
        for _ in range(TRIES):
            worker = worker or _Worker(environment, stop)
            event = worker.run(cell, events)
            if event is not None or stop():
                break
            code, worker = worker.end(), None
        else:
            event = Event(cell, "ended", _give_up(cell, code))
        events.put(event or Event(cell, "stopped"))
    if worker is not None:
        worker.end()
    events.put(None)


def _give_up(cell: Cell, code: int) -> str:
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    reason = f"its process ended by {how}, {TRIES} times"
    records.write(Path(cell.config.results), cell.record("failed", reason))
    return reason


class _Worker:
    """A process that runs the cells it is sent, a line of JSON each, and answers with a line each."""

    def __init__(self, environment: dict[str, str], stop: Stop) -> None:
        self.process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        stop.tell.append(self.process.terminate)

    def run(self, cell: Cell, events: "queue.SimpleQueue[Event | None]") -> Event | None:
        """What became of the cell, its progress told meanwhile; None if the process died over it."""
        if self.process.stdin is None or self.process.stdout is None:
            return None
        try:
            self.process.stdin.write(json.dumps(asdict(cell.config)) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        for answer in self.process.stdout:
            event = Event(cell, **json.loads(answer))
            if event.state != "running":
                return event
            events.put(event)
        return None

    def end(self) -> int:
        """Let it finish; its exit code."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            with suppress(BrokenPipeError):
                self.process.stdin.close()
        return self.process.wait()
