"""The process in which a sweep's cells run: configurations in by lines, what became of them out by lines."""

import json
import os
import signal
import sys
from collections.abc import Callable

from attnbench.cell import Cell
from attnbench.config import Config
from attnbench.errors import UserError
from attnbench.run import Busy, Watcher, run
from attnbench.sweep.stop import SIGNALS
from attnbench.train import Stopped


def attempt(cell: Cell, stop: Callable[[], bool]) -> tuple[str, str]:
    """Run a cell; its end as an `Event`'s state and reason."""
    try:
        record = run(cell, Watcher(stop=stop))
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
    for line in sys.stdin:
        state, reason = attempt(Cell(Config.restore(json.loads(line))), lambda: bool(asked))
        answers.write(json.dumps({"state": state, "reason": reason}) + "\n")
        answers.flush()
        if asked:
            break


if __name__ == "__main__":
    main()
