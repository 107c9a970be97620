"""The process in which cells run: orders in by lines of JSON, what becomes of them out by lines.

With a file's name as argument its order is taken instead, which is how several processes under torchrun run
one cell.
"""

import faulthandler
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attnbench.cell import Cell
from attnbench.config.schema import Config
from attnbench.errors import Interrupted, Unwritable, UserError
from attnbench.records import Busy
from attnbench.sweeping.executors.events import Tell
from attnbench.sweeping.progress.heartbeat import Heartbeat
from attnbench.sweeping.signals import SIGNALS


def attempt(cell: Cell, stop: Callable[[], bool], tell: Tell, seen: int | None = None) -> tuple[str, str]:
    """Run a cell and report its steps meanwhile; its end as an `Event`'s state and reason.

    Beside an `Event`'s states, `busy` says that another process is running the cell, and `again` that it was
    interrupted and can go on.
    """
    from attnbench.running import Watcher, run
    from attnbench.training.loop import Stopped

    beat = Heartbeat(cell, tell)
    try:
        record = run(cell, Watcher(beat.steps, beat.epoch, stop, beat.note, beat.begin), seen)
    except Busy:
        return "busy", ""
    except Stopped:
        end = "stopped", ""
    except Interrupted as error:
        end = "again", str(error)
    except Unwritable as error:
        end = "unwritable", str(error)
    except UserError as error:
        end = "refused", str(error)
    except Exception as error:  # not of the cell, which would have a record of it
        beat.log(traceback.format_exc())
        end = "unrecorded", f"{type(error).__name__}: {error}"
    else:
        end = "ended", record["reason"] or ""
        if not beat.begun:  # it was recorded elsewhere
            return end
        beat.log(f"{record['status']}\n{record.get('traceback', '')}".strip())
    beat.end(*end)
    return end


def main() -> None:
    """Serve until the input ends; an interrupt, or the driver's end, saves the cell's state first."""
    asked = threading.Event()
    for number in (*SIGNALS, signal.SIGUSR2):  # the last from Slurm, to all processes of a job
        signal.signal(number, lambda number, frame: asked.set())
    faulthandler.enable()
    first = os.environ.get("RANK", "0") == "0"
    output = os.dup(sys.stdout.fileno()) if first else os.open(os.devnull, os.O_WRONLY)
    answers = os.fdopen(output, "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is not an answer

    def answer(**event: Any) -> None:
        try:
            answers.write(json.dumps(event) + "\n")
            answers.flush()
        except OSError:  # the driver is gone
            asked.set()

    for order in _orders(sys.argv[1:], asked):
        if asked.is_set():  # between two cells
            answer(state="stopped", reason="", leaving=True)
            break
        cell = Cell(Config.restore(order["config"]))
        with _printing_into(Path(cell.config.runs) / cell.key):
            state, reason = attempt(cell, asked.is_set, answer, order["seen"])
        leaving = asked.is_set()
        answer(state=state, reason=reason, leaving=leaving)
        if leaving:
            break


def _orders(files: list[str], asked: threading.Event) -> Iterator[dict[str, Any]]:
    """The orders as they come; the end of the input is the driver's end."""
    lines = _listen(asked)
    if files:
        yield from (json.loads(Path(file).read_text()) for file in files)
        return
    while line := lines.get():
        yield json.loads(line)


def _listen(asked: threading.Event) -> "queue.SimpleQueue[str]":
    """The lines of the input, read by a thread; at its end, which asks to stop, an empty one."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    # Processes forked from here close their sys.stdin first: for ever, if its lock is held by who reads it.
    arriving = os.fdopen(os.dup(sys.stdin.fileno()))
    sys.stdin = open(os.devnull)  # noqa: SIM115

    def listen() -> None:
        for line in arriving:
            lines.put(line)
        asked.set()
        lines.put("")

    threading.Thread(target=listen, daemon=True).start()
    return lines


@contextmanager
def _printing_into(folder: Path) -> Iterator[None]:
    """Whatever this process, or a library below Python, prints goes to the cell's log."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError:
        yield
        return
    kept = [os.dup(number) for number in (1, 2)]
    try:
        for number in (1, 2):
            os.dup2(log, number)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, file in zip((1, 2), kept):
            os.dup2(file, number)
        for file in (*kept, log):
            os.close(file)


if __name__ == "__main__":
    main()
