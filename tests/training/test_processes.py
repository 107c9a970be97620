"""Loader processes that die or are signalled: no cell is lost over them, and no number changes."""

import multiprocessing
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attnbench import records, running
from attnbench.cell import Cell
from attnbench.data.pipeline.deaths import Deaths
from attnbench.data.pipeline.order import generator
from attnbench.data.pipeline.stream import Decoded
from attnbench.sweeping.experiment import cell
from attnbench.training.loop import Stopped
from tests.factories import TINY, numbers


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small images of two classes."""
    root = tmp_path_factory.mktemp("pictures")
    for part, count in (("train", 64), ("val", 16)):
        for name in ("ant", "bee"):
            (root / part / name).mkdir(parents=True)
            for n in range(count):
                pixels = generator(n).integers(0, 256, (20, 20, 3), np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{n}.png")
    return root


def loading(folder: Path, pictures: Path) -> Cell:
    """A cell whose images come from two loader processes."""
    data = ["data=imagefolder", f"data.root={pictures}", "data.size=16", "data.classes=2"]
    few = ["data.train=null", "data.val=null", "data.test=null", "cost.counters=false", "cost.memory=false"]
    folders = [f"results={folder}", f"runs={folder / 'runs'}"]
    return cell(["attn=se", *TINY, *data, *few, "hardware.workers=2", "data.options.cache=false", *folders])


@pytest.fixture(scope="module")
def calm(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    """The numbers of the cell that nobody disturbs."""
    return numbers(running.run(loading(tmp_path_factory.mktemp("calm"), pictures)))


def test_a_cell_goes_on_when_its_loaders_die(tmp_path: Path, pictures: Path, calm: tuple) -> None:
    notes: list[str] = []

    def kill(done: int, total: int) -> None:
        if done == 4 and not notes:  # in the second epoch, the first being saved
            for child in multiprocessing.active_children():
                os.kill(child.pid or 0, signal.SIGKILL)

    record = running.run(loading(tmp_path, pictures), running.Watcher(steps=kill, note=notes.append))
    assert record["status"] == "done"
    assert numbers(record) == calm
    assert len(notes) == 1
    assert "DataLoader worker (pid" in notes[0] and "goes on from its checkpoint" in notes[0]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR2", "SIGHUP"])
def test_loaders_leave_a_stop_of_the_whole_job_to_the_trainer(
    tmp_path: Path, pictures: Path, calm: tuple, name: str
) -> None:
    asked: list[int] = []

    def signal_all(done: int, total: int) -> None:
        if done == 2:  # sent by another process: loaders obey their trainer's own SIGTERM
            loaders = [str(child.pid) for child in multiprocessing.active_children()]
            subprocess.run(["kill", "-s", name.removeprefix("SIG"), *loaders], check=True)
        if done == 3:
            asked.append(done)

    one = loading(tmp_path, pictures)
    with pytest.raises(Stopped):
        running.run(one, running.Watcher(steps=signal_all, stop=lambda: bool(asked)))
    assert records.find(tmp_path, one.key) is None
    assert (tmp_path / "runs" / one.key / records.CHECKPOINT).is_file()
    if name == "SIGTERM":
        assert numbers(running.run(one)) == calm


def test_a_cell_whose_loaders_always_die_fails_and_keeps_its_checkpoint(
    tmp_path: Path, pictures: Path
) -> None:
    def kill(done: int, total: int) -> None:
        if done == 4:
            for child in multiprocessing.active_children():
                os.kill(child.pid or 0, signal.SIGKILL)

    one = loading(tmp_path, pictures)
    record = running.run(one, running.Watcher(steps=kill))
    assert record["status"] == "failed"
    assert "DataLoader worker (pid" in record["reason"]
    assert (tmp_path / "runs" / one.key / records.CHECKPOINT).is_file()


def test_a_connection_that_closes_before_a_death_is_reported_is_that_death() -> None:
    def closed() -> Iterator[int]:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGCHLD)).start()
        raise EOFError
        yield 0

    def report(number: int, frame: object) -> None:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    former = signal.signal(signal.SIGCHLD, report)
    try:
        with pytest.raises(RuntimeError, match="pid 7"):
            next(Deaths().batches(closed()))
    finally:
        signal.signal(signal.SIGCHLD, former)


def test_loaders_that_die_while_an_error_is_handled_change_nothing_of_its_record(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced, alive = running.current_traceback, []

    def late() -> str:
        """The traceback, written while the system reports the deaths."""
        for child in multiprocessing.active_children():
            alive.append(child.pid)
            os.kill(child.pid or 0, signal.SIGKILL)
        time.sleep(0.2)  # the signal is handled in here
        return traced()

    def broken(decoded: Decoded, step: int) -> None:
        raise ValueError("shapes differ")

    monkeypatch.setattr(running, "current_traceback", late)
    monkeypatch.setattr(Decoded, "__getitem__", broken)
    record = running.run(loading(tmp_path, pictures))
    assert alive
    assert record["status"] == "failed"
    assert record["reason"].startswith("ValueError: Caught ValueError in DataLoader worker process")
