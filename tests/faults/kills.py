"""Kills a sweep's processes at random moments, and starts it again, until it is done."""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

from attnbench import records
from attnbench.sweeping.plan import AGAIN
from attnbench.sweeping.progress.heartbeat import read
from tests.faults import command


def workers(driver: int) -> list[int]:
    """The processes that a driver has started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            words = (process / "cmdline").read_text()
        except (OSError, ValueError, IndexError):
            continue
        if parent == driver and "attnbench.sweeping.executors.worker" in words:
            found.append(int(process.name))
    return found


class Torment:
    """One sweep in a folder, its killings, and what was seen of its records."""

    def __init__(self, folder: Path, words: list[str], seed: int) -> None:
        self.folder, self.words = folder, words
        self.random = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.stamps: dict[str, int] = {}
        self.driver: subprocess.Popen[bytes] | None = None

    def start(self) -> "subprocess.Popen[bytes]":
        if self.driver is None or self.driver.poll() is not None:
            out = (self.folder / "out.txt").open("a")
            self.driver = subprocess.Popen(command(self.folder, *self.words), stdout=out, stderr=out)
        return self.driver

    def kill(self) -> bool:
        """Wait for a random moment and kill a random part; whether there was anything left to kill."""
        driver = self.start()
        if self.random.random() < 0.7:  # while cells run, at any point of them
            while driver.poll() is None and not self._running(driver):
                time.sleep(0.02)
            time.sleep(self.random.uniform(0, 1.5))
        else:  # while things start
            time.sleep(self.random.uniform(0, 6))
        if driver.poll() is not None:
            return False
        victim = self.random.choice(("workers", "driver", "both"))
        at = "a cell ran" if self._running(driver) else "none ran"
        below = workers(driver.pid)
        if victim == "workers":
            below = self.random.sample(below, min(len(below), self.random.choice((1, 2))))
        chosen = ([driver.pid] if victim != "workers" else []) + (below if victim != "driver" else [])
        for process in chosen:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if victim != "workers":
            driver.wait()
        if chosen:
            self.kills[f"{victim}, {at}"] += 1
        self.look()
        return True

    def _running(self, driver: "subprocess.Popen[bytes]") -> bool:
        found = [read(file.parent) for file in (self.folder / "runs").glob("*/state.json")]
        alive = set(workers(driver.pid))
        return any(state and state["state"] == "running" and state["pid"] in alive for state in found)

    def look(self) -> None:
        """Hold that no record was damaged, and none that was good was written again."""
        found, damaged = records.read(self.folder)
        assert not damaged
        for record in found:
            stamp = records.path(self.folder, record["key"]).stat().st_mtime_ns
            if record["status"] not in AGAIN:
                assert self.stamps.setdefault(record["key"], stamp) == stamp, "a cell was recorded twice"


def torment(folder: Path, words: list[str], kills: int, seed: int) -> tuple[Counter[str], int]:
    """Kill so often, then let the sweep end; the kills by victim and moment, and the last exit status."""
    one = Torment(folder, words, seed)
    while sum(one.kills.values()) < kills and one.kill():
        pass
    last = one.start().wait()
    while last != 0 and sum(one.kills.values()) and last != 2:
        last = one.start().wait()
    one.look()
    return one.kills, last
