"""What a running cell tells of itself: to its executor, to whoever reads its folder, and to its log."""

import json
import os
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attnbench import records
from attnbench.cell import Cell
from attnbench.errors import Overdue, Unwritable
from attnbench.sweeping.executors.events import Tell

SECONDS = 2.0  # between two words about a running cell


class Heartbeat:
    """Follows one cell; nothing that goes wrong here ever costs the cell."""

    def __init__(self, cell: Cell, tell: Tell) -> None:
        self.cell, self.tell = cell, tell
        self.first = os.environ.get("RANK", "0") == "0"  # of several processes, the one that reports
        self.folder = Path(cell.config.runs) / cell.key
        before = read(self.folder) or {}
        self.spent = (
            before.get("spent", 0.0) if before.get("state") in ("running", "stopped", "again") else 0.0
        )
        self.started = self.reported = time.monotonic()
        self.begun = False
        self.share = 0.0
        self.figures: dict[str, Any] = {"epoch": 0, "epochs": cell.config.recipe.epochs}

    def begin(self) -> None:
        """Hear that the cell is this process's."""
        self.begun, self.started = True, time.monotonic()
        self.log(f"started by process {os.getpid()} on {socket.gethostname()}: {self.cell}")
        self._write("running")

    @property
    def taken(self) -> float:
        """Seconds that the cell has taken, earlier tries that were interrupted included."""
        return self.spent + time.monotonic() - self.started

    def steps(self, done: int, total: int) -> None:
        """Hear of a training step; raises `Overdue` after the last that the cell may take."""
        if not self.first:
            return
        limit = self.cell.config.launch.limit_min
        if limit is not None and self.taken > 60 * limit:
            raise Overdue(f"took longer than the {limit:g} min that launch.limit_min allows")
        if time.monotonic() - self.reported > SECONDS:
            self.share = done / total
            self.figures["epoch"] = min(done * self.figures["epochs"] // total + 1, self.figures["epochs"])
            self._say()

    def epoch(self, row: dict[str, float]) -> None:
        """Hear of an epoch's figures."""
        self.log(", ".join(f"{name} {value:.5g}" for name, value in row.items()))
        metric = next((name for name in row if name.startswith("val_")), None)
        self.figures |= {"epoch": int(row["epoch"]), "loss": row.get("train_objective")}
        if metric is not None:
            self.figures |= {"metric": metric.removeprefix("val_"), "value": row[metric]}
        self._say()

    def note(self, text: str) -> None:
        """Hear of something that the user should know."""
        self.log(text)
        self.tell(state="note", reason=text)

    def end(self, state: str, reason: str) -> None:
        """Hear how it ended; what leaves no record leaves a note in the folder."""
        self.log(f"{state}: {reason}" if reason else state)
        if state == "ended":
            with suppress(OSError):
                (self.folder / FILE).unlink(missing_ok=True)
        else:
            self._write(state, reason)

    def log(self, text: str) -> None:
        """Add a line to the cell's log."""
        if not self.first:
            return
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "log.txt").open("a", encoding="utf-8") as file:
                file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n")

    def _say(self) -> None:
        self.reported = time.monotonic()
        self.tell(state="running", share=self.share, figures=dict(self.figures))
        self._write("running")

    def _write(self, state: str, reason: str = "") -> None:
        if not self.first:
            return
        content = {
            "key": self.cell.key,
            "cell": str(self.cell),
            "state": state,
            "reason": reason,
            "share": self.share,
            "figures": self.figures,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "spent": round(self.taken, 3),
            "updated": time.time(),
        }
        with suppress(Unwritable):
            records.write_whole(self.folder / FILE, json.dumps(content).encode(), sync=False)


FILE = "state.json"


def read(folder: Path) -> dict[str, Any] | None:
    """How the cell of a folder stands, by its own last words; None where it has ended or never began."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def alive(pid: int, host: str) -> bool | None:
    """Whether a process runs; None for one of another machine."""
    if host != socket.gethostname():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
