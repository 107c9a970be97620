"""A sweep through a real Ray cluster of this machine finishes every cell once, though a task is killed."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from attnbench import records

pytest.importorskip("ray", reason="no Ray here: pip install 'attnbench[ray]'")
CELLS = [
    "data.size=16",
    "data.train=192",
    "data.val=64",
    "data.test=64",
    "recipe.batch_size=32",
    "recipe.epochs=12",
    "cost.latency=false",
    "cost.memory=false",
    "cost.counters=false",
    "hardware.device=cpu",
    "hardware.checkpoint_s=0.5",
    "launch=ray",
    "launch.poll_s=1",
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray of two processors, started for this file's tests."""
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    port = 20000 + os.getpid() % 20000
    settings = ["--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats"]
    start = [*ray, "start", "--head", f"--port={port}", *settings]
    subprocess.run(start, check=True, capture_output=True, timeout=120)
    yield f"127.0.0.1:{port}"
    subprocess.run([*ray, "stop", "--force"], capture_output=True, timeout=120)


def tasks() -> list[int]:
    """The processes that run a task now."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cmdline").read_bytes().startswith(b"ray::_run"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_a_sweep_outlives_the_loss_of_a_task(
    cluster: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folders = [f"results={tmp_path}", f"runs={tmp_path / 'runs'}", f"launch.options.address={cluster}"]
    grid = ["attn=none,se", "seed=0,1", "launch.chunk=2"]
    command = [sys.executable, "-m", "attnbench", "-m", *CELLS, *grid, *folders]
    with (tmp_path / "out.txt").open("w") as out:
        driver = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    request.addfinalizer(driver.kill)
    deadline = time.monotonic() + 180
    while not list(tmp_path.glob("runs/*/checkpoint.pt")):
        assert driver.poll() is None and time.monotonic() < deadline, (tmp_path / "out.txt").read_text()
        time.sleep(0.2)
    os.kill(tasks()[0], signal.SIGKILL)
    assert driver.wait(400) == 0, (tmp_path / "out.txt").read_text()
    found, damaged = records.read(tmp_path)
    assert not damaged
    assert [record["status"] for record in found] == ["done"] * 4
    for record in found:
        log = (tmp_path / "runs" / record["key"] / "log.txt").read_text()
        assert len(re.findall(r" done$", log, re.MULTILINE)) == 1, log
