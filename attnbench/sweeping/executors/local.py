"""Workers beside this process, one at a seat; one that dies takes at most its cell's last minute with it."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from attnbench import records
from attnbench.cell import Cell
from attnbench.errors import Unwritable
from attnbench.sweeping.executors.events import AGAIN_S, Event, Hear, Tell, Waiting, Work
from attnbench.sweeping.executors.retries import BUSY, Retries
from attnbench.sweeping.executors.seats import environments

COMMAND = [sys.executable, "-m", "attnbench.sweeping.executors.worker"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
GROUP_S = 20.0  # for a worker to end after its last cell, and a group after its first process
ERROR = re.compile(r"\s*[\w.]*(Error|Exception|Exit|Interrupt)\b")  # begins the last line of a traceback
OVERTIME_S = 60.0  # for a worker to notice that its cell is over its time limit; then it is killed


class Pool:
    """Runs a chunk of cells on this machine, and tells what becomes of each."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.waiting = Waiting(work.cells)
        self.events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self.retries = Retries(work)
        self.open: set[str] = {cell.key for cell in work.cells}  # cells that have not come to an end
        self.workers: list[Worker] = []

    def run(self, hear: Hear) -> None:
        """Tell all events until every cell has ended, or all workers have stopped."""
        places = environments(self.work.launch, len(self.work.cells))
        self.work.stop.tell.append(self._ask)
        for number, environment in enumerate(places, start=1):
            threading.Thread(target=self._serve, args=(str(number), environment), daemon=True).start()
        running = len(places)
        try:
            while running:
                event = self.events.get()
                running -= event is None
                if event is not None:
                    hear(event)
        finally:
            self.open.clear()
            self._kill()

    def _ask(self) -> None:
        """Ask every worker to save its cell and end; make them, a little later."""
        for worker in self.workers:
            worker.terminate()
        later = threading.Timer(self.work.patience, self._kill)
        later.daemon = True
        later.start()

    def _kill(self) -> None:
        for worker in self.workers:
            worker.kill()

    def wait(self, seconds: float) -> None:
        """Wait until no worker is left, but not longer."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and any(worker.alive for worker in self.workers):
            time.sleep(0.1)

    def _serve(self, seat: str, environment: dict[str, str]) -> None:
        """Hand cells to one worker after another, each until it dies."""
        worker: Worker | None = None
        last: Cell | None = None
        try:
            while self.open and not self.work.stop():
                cell = self.waiting.take(last)
                if cell is None:
                    time.sleep(AGAIN_S / 5)
                    continue
                last = cell
                if worker is None or not worker.alive:
                    if worker is not None:
                        worker.end()
                    worker = Worker(environment, self.work.launch.processes)
                    self.workers.append(worker)
                self._tell(cell, seat, state="started")
                self._take(cell, seat, worker)
        finally:
            if worker is not None:
                worker.end()
            self.events.put(None)

    def _take(self, cell: Cell, seat: str, worker: "Worker") -> None:
        """Have a worker run a cell, and decide what becomes of it."""

        def tell(**event: Any) -> None:
            self._tell(cell, seat, **event)

        self.retries.begin(cell)
        try:
            end = worker.run(cell, self.work.seen.get(cell.key), tell) or worker.death(cell)
            state, reason = self.retries.settle(cell, *end)
        except Unwritable as error:
            state, reason = "unwritable", str(error)
        except Exception as error:  # of this process: the other cells go on
            state, reason = "unrecorded", f"{type(error).__name__}: {error}"
        if state == "again":
            if reason != BUSY:
                tell(state="note", reason=reason)
            self.waiting.later(cell)
            tell(state="waiting", reason=reason)
            return
        self.open.discard(cell.key)
        tell(state=state, reason=reason)
        if state == "unwritable":
            self.work.stop.ask()

    def _tell(self, cell: Cell, seat: str, **event: Any) -> None:
        self.events.put(Event(cell, worker=seat, **event))


class Worker:
    """A process that runs the cells that it is sent; under torchrun, a group of processes for one cell."""

    def __init__(self, environment: dict[str, str], processes: int) -> None:
        self.environment, self.processes = environment, processes
        self.overdue = False
        self.leaving = False  # it takes no more cells
        self.process = self._start(COMMAND) if processes == 1 else None

    def _start(self, command: list[str]) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env=self.environment,
            start_new_session=True,  # an interrupt from the keyboard reaches it by its driver alone
        )
        self.errors = Errors(process)
        return process

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None and not self.leaving

    def terminate(self) -> None:
        """Ask it to save its cell and end."""
        if self.process is not None:
            self.process.terminate()

    def kill(self) -> None:
        """End it, and all that it started."""
        if self.process is not None and self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def run(self, cell: Cell, seen: int | None, tell: Tell) -> tuple[str, str] | None:
        """How the cell ended, its progress reported meanwhile; None if the process died over it."""
        order = json.dumps({"config": asdict(cell.config), "seen": seen})
        if self.processes > 1:
            self._start_group(cell, order)
        elif not self._send(order):
            return None
        alarm = threading.Timer(60 * (cell.config.launch.limit_min or 0) + OVERTIME_S, self._kill_overdue)
        alarm.daemon = True
        if cell.config.launch.limit_min is not None:
            alarm.start()
        try:
            return self._listen(tell)
        finally:
            alarm.cancel()
            if self.processes > 1:
                self._end_group()

    def _listen(self, tell: Tell) -> tuple[str, str] | None:
        """Tell what the process says until it says how the cell ended."""
        if self.process is None or self.process.stdout is None:
            return None
        for answer in self.process.stdout:
            event = json.loads(answer)
            if event["state"] not in ("running", "note"):
                self.leaving = bool(event.get("leaving"))
                return event["state"], event["reason"]
            tell(**event)
        return None

    def _start_group(self, cell: Cell, order: str) -> None:
        file = Path(cell.config.runs) / cell.key / "order.json"
        records.write_whole(file, order.encode(), sync=False)
        self.process = self._start([*TORCHRUN, str(self.processes), *COMMAND[1:], str(file)])

    def _end_group(self) -> None:
        """Wait for the other processes of a cell whose first has answered; not for ever."""
        try:
            if self.process is not None:
                self.process.wait(GROUP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def _send(self, order: str) -> bool:
        try:
            if self.process is not None and self.process.stdin is not None:
                self.process.stdin.write(order + "\n")
                self.process.stdin.flush()
        except BrokenPipeError:
            return False
        return True

    def _kill_overdue(self) -> None:
        self.overdue = True
        self.kill()

    def death(self, cell: Cell) -> tuple[str, str]:
        """How it ended without an answer, as an event's state and reason."""
        code = self.end()
        if self.overdue:
            limit = f"{cell.config.launch.limit_min:g} min of launch.limit_min"
            return "overdue", f"took longer than the {limit}: killed"
        how = f"signal {_name(-code)}" if code < 0 else f"exit code {code}"
        words = f" ({self.errors.last})" if code > 0 and self.errors.last else ""
        return "died", f"its process ended by {how}{words}"

    def end(self) -> int:
        """Let it finish, or make it; its exit code."""
        if self.process is None:
            return 0
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):
                self.process.stdin.close()
        try:
            self.process.wait(GROUP_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self.errors.join(1.0)
        return self.process.wait()


class Errors(threading.Thread):
    """Passes a process's error output on to ours; `last` is the last line that names an error."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        super().__init__(daemon=True)
        self.stream = process.stderr
        self.last = ""
        self.start()

    def run(self) -> None:
        for line in self.stream or ():
            sys.stderr.write(line)
            sys.stderr.flush()
            if ERROR.match(line):
                self.last = line.strip()


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return str(number)
