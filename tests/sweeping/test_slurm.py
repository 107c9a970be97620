"""Sweeps through a real Slurm of virtual nodes lose nothing and record nothing twice, whatever dies."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from attnbench import records
from attnbench.sweeping.progress.heartbeat import read

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
SCRIPT = Path(__file__).parent / "slurm" / "cluster.sh"
NODES = 3
CELLS = [
    "data.size=16",
    "data.train=192",
    "data.val=64",
    "data.test=64",
    "recipe.batch_size=32",
    "recipe.evaluate_every=100",
    "cost.latency=false",
    "cost.memory=false",
    "cost.counters=false",
    "hardware.device=cpu",
    "hardware.checkpoint_s=0.5",
    "launch=slurm",
    "launch.poll_s=1",
]

missing = [name for name in PROGRAMS if shutil.which(name) is None]
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(missing), reason=f"no Slurm here: {', '.join(missing)} not found"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a Slurm of virtual nodes is started by root"),
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory) -> Iterator[None]:
    """A cluster for this file's tests."""
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run(["bash", str(SCRIPT), "start", str(folder), str(NODES)], check=True, timeout=60)
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    yield
    subprocess.run(["bash", str(SCRIPT), "stop", str(folder)], timeout=60)
    os.environ.pop("SLURM_CONF") if before is None else os.environ.update(SLURM_CONF=before)


def drive(folder: Path, *words: str) -> "subprocess.Popen[str]":
    """A driver of a sweep in a folder, its output in a file there."""
    command = [sys.executable, "-m", "attnbench", "-m", *CELLS, *words]
    out = (folder / "out.txt").open("a")
    folders = [f"results={folder}", f"runs={folder / 'runs'}"]
    return subprocess.Popen([*command, *folders], stdout=out, stderr=subprocess.STDOUT, text=True)


def until(true: Callable[[], object], what: str, folder: Path, driver: "subprocess.Popen[str]") -> None:
    """Wait for what a sweep in a folder is about to do, and say what it printed if that cannot come."""
    deadline = time.monotonic() + 180
    while not true():
        said = (folder / "out.txt").read_text()
        assert driver.poll() in (None, 130), f"the sweep ended before {what}: {said}"
        assert time.monotonic() < deadline, f"waited in vain until {what}: {said}"
        time.sleep(0.2)


def states(folder: Path) -> list[dict]:
    """The cells that run, each with a checkpoint."""
    found = [read(file.parent) for file in (folder / "runs").glob("*/checkpoint.pt")]
    return [state for state in found if state and state["state"] == "running"]


def jobs(folder: Path) -> dict[str, list[str]]:
    return json.loads((folder / "runs" / "sweeps" / "jobs-slurm").read_text())


def check(folder: Path, cells: int) -> None:
    """Every cell is recorded as done, and was finished once."""
    found, damaged = records.read(folder)
    assert not damaged
    assert [record["status"] for record in found] == ["done"] * cells
    for record in found:
        log = (folder / "runs" / record["key"] / "log.txt").read_text()
        assert len(re.findall(r" done$", log, re.MULTILINE)) == 1, log


def lose(node: str) -> int:
    """Kill a node's daemon and all that runs there, as if its machine had lost its power."""
    killed = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        here = f"SLURMD_NODENAME={node}".encode() in environment
        daemon = command[0].endswith(b"slurmd") and node.encode() in command
        if here or daemon:
            os.kill(int(process.name), signal.SIGKILL)
            killed += 1
    return killed


def test_a_sweep_outlives_the_loss_of_a_job_and_of_a_node(slurm, tmp_path):
    words = ["attn=none,se,eca", "seed=0,1", "recipe.epochs=60", "launch.jobs=3", "launch.chunk=2"]
    driver = drive(tmp_path, *words)
    until(lambda: len(states(tmp_path)) >= 2, "two cells run", tmp_path, driver)
    subprocess.run(["scancel", next(iter(jobs(tmp_path)))], check=True)
    running = subprocess.run(
        ["squeue", "--noheader", "--states=running", "--format=%N"], capture_output=True, text=True
    )
    assert lose(running.stdout.split()[-1]) > 1
    assert driver.wait(400) == 0, (tmp_path / "out.txt").read_text()
    check(tmp_path, 6)


def test_a_preempted_job_is_queued_again_and_a_new_driver_finds_it(slurm, tmp_path):
    words = ["attn=none,se", "recipe.epochs=80", "launch.jobs=2", "launch.chunk=1"]
    driver = drive(tmp_path, *words)
    until(lambda: len(states(tmp_path)) == 2, "both cells run", tmp_path, driver)
    driver.kill()
    driver.wait()
    submitted = sorted((tmp_path / "runs" / "sweeps" / "slurm").glob("*_submitted.pkl"))
    subprocess.run(["scancel", "--signal=USR2", next(iter(jobs(tmp_path)))], check=True)
    assert drive(tmp_path, *words).wait(300) == 0, (tmp_path / "out.txt").read_text()
    assert "was found, and goes on" in (tmp_path / "out.txt").read_text()
    assert sorted((tmp_path / "runs" / "sweeps" / "slurm").glob("*_submitted.pkl")) == submitted
    check(tmp_path, 2)
    logs = [file.read_text() for file in (tmp_path / "runs").glob("*/log.txt")]
    assert sorted(log.count("started by process") for log in logs) == [1, 2]
    assert sum(" stopped" in log for log in logs) == 1


def test_an_interrupted_driver_ends_its_jobs_and_several_processes_train_a_cell(slurm, tmp_path):
    words = ["attn=none", "recipe.epochs=60", "launch.jobs=1", "launch.processes=2"]
    driver = drive(tmp_path, *words)
    until(lambda: states(tmp_path), "the cell runs", tmp_path, driver)
    driver.send_signal(signal.SIGINT)
    started = time.monotonic()
    assert driver.wait(60) == 130
    assert time.monotonic() - started < 10  # 5 s where nothing else runs
    until(lambda: not states(tmp_path), "its job has ended", tmp_path, driver)
    assert drive(tmp_path, *words).wait(300) == 0, (tmp_path / "out.txt").read_text()
    check(tmp_path, 1)
    assert records.read(tmp_path)[0][0]["provenance"]["processes"] == 2
