"""Where a sweep writes down that it is under way, for those who look from elsewhere."""

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from attnbench import records
from attnbench.errors import Unwritable
from attnbench.sweeping.progress.heartbeat import alive

EVERY_S = 5.0  # between two entries
FOLDER = "sweeps"  # of the runs folder


@dataclass
class Entry:
    """How a sweep stands."""

    executor: str
    jobs: int
    to_run: int
    ended: int = 0
    failed: int = 0
    left: str = ""  # time that the rest may take, in words
    pid: int = 0
    host: str = ""
    updated: float = 0.0


class Book:
    """Keeps one sweep's entry; whatever goes wrong here costs the sweep nothing."""

    def __init__(self, runs: Path, entry: Entry) -> None:
        self.entry = entry
        entry.pid, entry.host = os.getpid(), socket.gethostname()
        self.file = runs / FOLDER / f"{entry.host}-{entry.pid}.json"

    def write(self, **news: Any) -> None:
        """Enter the news, if the last entry is old enough."""
        if time.time() - self.entry.updated < EVERY_S:
            return
        for name, value in {**news, "updated": time.time()}.items():
            setattr(self.entry, name, value)
        with suppress(Unwritable):
            records.write_whole(self.file, json.dumps(asdict(self.entry)).encode(), sync=False)

    def close(self) -> None:
        """Take the entry out: the sweep has ended."""
        with suppress(OSError):
            self.file.unlink(missing_ok=True)


def read(runs: Path) -> list[tuple[Entry, bool | None]]:
    """All entries, and whether their sweeps still run (None: on another machine, so none can tell)."""
    found = []
    for file in sorted((runs / FOLDER).glob("*-*.json")):
        try:
            entry = Entry(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            continue
        found.append((entry, alive(entry.pid, entry.host)))
    return found
