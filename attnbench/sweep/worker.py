"""The process in which a sweep's cells run: configurations in by lines, what became of them out by lines."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable

from attnbench.cell import Cell
from attnbench.config import Config
from attnbench.errors import UserError
from attnbench.run import Busy, Watcher, run
from attnbench.sweep.stop import SIGNALS
from attnbench.train import Stopped

SECONDS = 2.0  # between two words about a running cell


def attempt(
    cell: Cell, stop: Callable[[], bool], steps: Callable[[int, int], None] = lambda done, total: None
) -> tuple[str, str]:
    """Run a cell, its steps told meanwhile; its end as an `Event`'s state and reason."""
    try:
        record = run(cell, Watcher(steps, stop=stop))
    except UserError as error:
        return "refused", str(error)
    except Busy:
        return "busy", "another process is at it"
    except Stopped:
        return "stopped", ""
    return "ended", record["reason"] or ""


def main() -> None:
    """Serve until the input ends; an interrupt saves the cell's state first."""
    asked: list[int] = []
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: asked.append(number))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer

    def answer(**event: object) -> None:
        answers.write(json.dumps(event) + "\n")
        answers.flush()

    for line in sys.stdin:
        steps = seldom(lambda done, total: answer(state="running", share=done / total))
        state, reason = attempt(Cell(Config.restore(json.loads(line))), lambda: bool(asked), steps)
        answer(state=state, reason=reason)
        if asked:
            break


def seldom(tell: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """`tell`, called every few seconds at most."""
    told = time.monotonic()

    def maybe(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told > SECONDS:
            told = time.monotonic()
            tell(done, total)

    return maybe


if __name__ == "__main__":
    main()
