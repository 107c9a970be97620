"""Sweeps do each cell once, whatever dies meanwhile."""

import signal
import subprocess
import sys
import time

import pytest
from rich.console import Console

from attnbench import records
from attnbench.cli.main import main
from attnbench.config.launch import Launch
from attnbench.records.pace import span
from attnbench.sweeping import sweep
from attnbench.sweeping.executors import base as executors
from attnbench.sweeping.executors import local as pool
from attnbench.sweeping.executors.events import Work
from attnbench.sweeping.plan import Plan
from attnbench.sweeping.signals import Stop
from tests.factories import QUICK, cells


@pytest.fixture
def console() -> Console:
    return Console(record=True, width=200, highlight=False)


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_a_sweep_runs_what_is_missing_and_nothing_twice(tmp_path, console, executor):
    wanted = cells(tmp_path)
    assert sweep(wanted, Launch(executor=executor, jobs=1), console) == 0
    stamps = {p: p.stat().st_mtime_ns for p in records.folder(tmp_path).iterdir()}
    assert len(stamps) == 2
    assert sweep(wanted, Launch(executor=executor, jobs=1), console) == 0
    assert {p: p.stat().st_mtime_ns for p in records.folder(tmp_path).iterdir()} == stamps
    printed = console.export_text()
    assert "2 cells: 0 done, 2 to run, time unknown yet" in printed
    assert "2 done, nothing to run" in printed
    assert "[2/2]" in printed


def test_a_cell_that_kills_its_process_is_recorded_and_the_others_go_on(tmp_path, console, monkeypatch):
    wanted = cells(tmp_path)
    monkeypatch.setenv("ATTNBENCH_TEST_KILL", "se")
    monkeypatch.setattr(pool, "COMMAND", [sys.executable, "-m", "tests.faults.killed_worker"])
    assert sweep(wanted, Launch(jobs=1), console) == 1
    found = {r["cell"]["attn"]: r for r in records.read(tmp_path)[0]}
    assert found["none"]["status"] == "done"
    assert found["se"]["status"] == "failed"
    assert found["se"]["reason"] == "its process ended by signal SIGKILL, 3 times"
    monkeypatch.undo()
    assert sweep(wanted, Launch(jobs=1), console) == 1
    printed = console.export_text()
    assert "(1 failed), nothing to run" in printed
    assert "1 cell failed before; launch.retry=true runs them again" in printed
    assert sweep([*wanted, *cells(tmp_path, attn=("eca",))], Launch(executor="inline"), console) == 1
    assert sweep(wanted, Launch(executor="inline", retry=True), console) == 0
    assert {r["status"] for r in records.read(tmp_path)[0]} == {"done"}


def test_what_the_user_must_mend_is_said_once_and_leaves_no_record(tmp_path, console):
    wanted = cells(tmp_path, "data=cifar10", f"data.root={tmp_path / 'nowhere'}")
    assert sweep(wanted, Launch(executor="inline"), console) == 2
    assert records.read(tmp_path) == ([], {})
    printed = console.export_text()
    assert "2 cells not run:" in printed
    assert "data.download=true" in printed


def test_an_interrupt_keeps_what_is_done_and_the_same_command_goes_on(tmp_path):
    folders = [f"results={tmp_path}", f"runs={tmp_path / 'runs'}"]
    words = ["-m", "attn=none,se", *QUICK, "data.train=128", "recipe.epochs=6", "launch.jobs=1", *folders]
    command = [sys.executable, "-m", "attnbench", *words]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/checkpoint.pt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    asked = time.monotonic()
    child.send_signal(signal.SIGINT)
    printed, _ = child.communicate(timeout=60)
    assert child.returncode == 130, printed
    assert time.monotonic() - asked < 30  # the checkpoint, too, tells that its end was not awaited
    assert "the same command goes on" in printed
    assert list(tmp_path.glob("runs/*/checkpoint.pt"))
    assert main([*words, "launch=inline"]) == 0
    assert [r["status"] for r in records.read(tmp_path)[0]] == ["done", "done"]


def test_a_stopped_executor_hands_out_no_more_cells(tmp_path):
    stop = Stop()
    stop.ask()
    heard = []
    executors.inline(Work(cells(tmp_path), Launch(), stop), heard.append)
    assert heard == []


def test_a_plan_expects_what_cells_like_these_took(tmp_path):
    wanted = cells(tmp_path, attn=("none", "se", "simam"))
    done = wanted[0].record("done", provenance={"wall_s": 10.0})
    records.write(tmp_path, done)
    plan = Plan.of(wanted, retry=False)
    assert plan.describe(jobs=2) == "1 done, 2 to run, ≈ 10 s on 2 workers"


@pytest.mark.parametrize(("seconds", "said"), [(8, "8 s"), (200, "3 min"), (9000, "2.5 h")])
def test_spans_read_as_a_person_says_them(seconds, said):
    assert span(seconds) == said
