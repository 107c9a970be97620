"""One cell, end to end: the same numbers again, after a kill, in two processes, and as things go wrong."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from attnbench import records, running
from attnbench.cell import Cell
from attnbench.errors import Impossible, UserError
from attnbench.training.loop import Stopped
from tests.factories import TINY, numbers, tiny

UNWEIGHED = ["cost.counters=false", "cost.memory=false"]
SMALL = ["recipe.batch_size=8", "data.train=48", "data.val=16", "data.test=16"]  # bf16 is slow on many CPUs
HALF = [*SMALL, "recipe.precision=bf16", "recipe.optimizer.name=adamw", "recipe.optimizer.lr=0.002"]
SOME = ["recipe.ema=0.9", "recipe.augment.mixup=0.2", "recipe.augment.cutmix=1", "recipe.clip_norm=1"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict:
    """The record of the tiny cell, run without interruption."""
    return running.run(tiny(tmp_path_factory.mktemp("whole")))


def test_a_record_says_what_was_measured_and_where_it_comes_from(whole):
    assert whole["status"] == "done"
    assert set(whole["metrics"]) == {"val", "test"}
    assert 0 <= whole["metrics"]["test"]["top1"] <= whole["metrics"]["test"]["top5"] <= 100
    assert [row["epoch"] for row in whole["curve"]] == [1, 2]
    assert whole["cost"]["params_attention"] > 0
    assert whole["provenance"]["data_checksum"]
    assert whole["provenance"]["versions"]["torch"] == torch.__version__.partition("+")[0]
    json.dumps(whole, allow_nan=False, default=str)


def test_the_same_seed_gives_the_same_bits(whole, tmp_path):
    assert numbers(running.run(tiny(tmp_path))) == numbers(whole)


def test_another_seed_gives_other_numbers(whole, tmp_path):
    assert numbers(running.run(tiny(tmp_path, "seed=1"))) != numbers(whole)


@pytest.mark.parametrize("arguments", [[], SOME, HALF])
def test_a_cell_stopped_at_any_step_goes_on_to_the_same_numbers(tmp_path, arguments):
    words = ["data.size=16", *UNWEIGHED, *arguments]
    straight = running.run(tiny(tmp_path / "straight", *words))
    broken, taken = tiny(tmp_path / "broken", *words), []
    for stop_after in (4, 2, 3):
        taken.clear()
        watcher = running.Watcher(steps=lambda *_: taken.append(1), stop=lambda: len(taken) >= stop_after)  # noqa: B023
        with pytest.raises(Stopped):
            running.run(broken, watcher)
        assert records.find(tmp_path / "broken", broken.key) is None
    assert numbers(running.run(broken)) == numbers(straight)
    assert not list((tmp_path / "broken" / "runs").glob("*/checkpoint.pt"))


def test_a_cell_killed_without_warning_goes_on_to_the_same_numbers(whole, tmp_path):
    cell = tiny(tmp_path, *UNWEIGHED)
    words = ["attn=se", *TINY, *UNWEIGHED, f"results={tmp_path}", f"runs={tmp_path / 'runs'}"]
    child = subprocess.Popen([sys.executable, "-m", "attnbench", *words], stdout=subprocess.DEVNULL)
    checkpoint = tmp_path / "runs" / cell.key / "checkpoint.pt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert numbers(running.run(cell)) == numbers(whole)


def test_a_loss_that_is_no_number_ends_the_cell_with_a_record(tmp_path):
    record = running.run(tiny(tmp_path, "recipe.optimizer.lr=1000", "recipe.optimizer.weight_decay=1000"))
    assert record["status"] == "diverged"
    assert "non-finite loss by epoch 1" in record["reason"]
    assert record["metrics"] is None
    assert records.find(tmp_path, record["key"]) is not None


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Impossible("a map of 1x1"), "skipped"),
        (torch.OutOfMemoryError("no room"), "out_of_memory"),
        (RuntimeError("shapes differ"), "failed"),
    ],
)
def test_what_goes_wrong_is_a_record_that_says_so(tmp_path, monkeypatch, error, status):
    def broken(*_):
        raise error

    monkeypatch.setattr(running, "build", broken)
    record = running.run(tiny(tmp_path))
    assert record["status"] == status
    assert str(error) in record["reason"]


def test_what_the_user_must_mend_leaves_no_record(tmp_path):
    with pytest.raises(UserError, match=r"batch_size=500 is more than the 192 training images"):
        running.run(tiny(tmp_path, "recipe.batch_size=500"))
    with pytest.raises(UserError, match=r"hardware\.device='gpu': must be auto, cpu, cuda, cuda:1 or mps"):
        running.run(tiny(tmp_path, "hardware.device=gpu"))
    assert records.read(tmp_path) == ([], {})


@pytest.mark.parametrize("size", [1, 31])
def test_one_image_at_a_time_is_refused_where_batches_are_normalized(tmp_path, size):
    with pytest.raises(UserError, match=r"one image at a time: recipe\.batch_size=32"):
        running.run(
            tiny(tmp_path, f"hardware.micro_batch={size}", "cost.memory=false", "cost.counters=false")
        )


BUSY = 77


def leave_alone(cell: Cell) -> None:
    """In a process of its own: run a cell, and end with `BUSY` where another process runs it."""
    try:
        running.run(cell, running.Watcher(steps=lambda *_: os._exit(1)))
    except running.Busy:
        os._exit(BUSY)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["task=skeleton", "backbone=lstm", "data.size=32"], "network.lstm"),
        (["task=clip", "task.options.head=lstm", "data.frames=2", "data.size=16"], "head.lstm"),
    ],
)
def test_half_precision_is_refused_for_an_lstm_on_a_cpu(tmp_path, words, name):
    half = tiny(tmp_path, *words, "attn=none", "recipe.augment.crop=none", "recipe.precision=fp16")
    with pytest.raises(UserError, match=rf"^recipe\.precision=fp16: an LSTM \({name}\) cannot train in fp16"):
        running.run(half)
    assert records.read(tmp_path) == ([], {})


def test_a_cell_that_another_process_runs_is_left_alone(tmp_path):
    cell, seen = tiny(tmp_path, *UNWEIGHED), []

    def second(*_):
        if not seen:
            child = multiprocessing.get_context("fork").Process(target=leave_alone, args=(cell,))
            child.start()
            child.join()
            seen.append(child.exitcode)

    running.run(cell, running.Watcher(steps=second))
    assert seen == [BUSY]


def test_the_control_starts_from_the_same_weights_and_sees_the_same_order(tmp_path):
    plain = running.build(tiny(tmp_path, "attn=none")).state_dict()
    grafted = running.build(tiny(tmp_path)).state_dict()
    assert plain.keys() < grafted.keys()
    assert all(torch.equal(plain[name], grafted[name]) for name in plain)


def test_two_processes_give_the_result_of_one(whole, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    folders = [f"results={tmp_path}", f"runs={tmp_path / 'runs'}"]
    words = ["-m", "attnbench", "attn=se", *TINY, *UNWEIGHED, *folders]
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=300, env={**os.environ})
    assert done.returncode == 0, done.stderr
    (record,), _ = records.read(tmp_path)
    assert record["provenance"]["processes"] == 2
    for one, two in zip(whole["curve"], record["curve"]):
        assert two["train_objective"] == pytest.approx(one["train_objective"], rel=1e-3)
        assert two["val_loss"] == pytest.approx(one["val_loss"], rel=1e-3)


def test_compiled_and_contiguous_training_measure_the_same_cell(whole, tmp_path):
    other = running.run(tiny(tmp_path, "hardware.channels_last=false"))
    assert other["key"] == whole["key"]
    assert other["curve"][0]["train_objective"] == pytest.approx(
        whole["curve"][0]["train_objective"], rel=1e-3
    )
