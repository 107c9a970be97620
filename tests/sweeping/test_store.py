"""What is damaged, full, locked or too large: each has an outcome that loses nothing and says what it is."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from attnbench import records, running
from attnbench.cell import Cell
from attnbench.config.launch import Launch
from attnbench.config.schema import Config
from attnbench.errors import Unwritable
from attnbench.sweeping import sweep
from attnbench.tasks.cls import Task
from attnbench.training.distributed import Group
from attnbench.training.loop import Stopped, Training
from tests.factories import QUICK, cells, numbers


def one(folder: Path, *arguments: str) -> Cell:
    return cells(folder, "data.size=16", "recipe.epochs=2", *arguments, attn=("se",))[0]


@pytest.fixture
def console() -> Console:
    return Console(record=True, width=250, highlight=False)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of a few kB that can be enlarged and made read-only."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)

    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here: needs root")
    yield disk, remount
    subprocess.run(["umount", "-l", str(disk)], check=True)


def stop_after(steps: int, cell: Cell) -> None:
    taken: list[int] = []
    watcher = running.Watcher(steps=lambda *_: taken.append(1), stop=lambda: len(taken) >= steps)
    with pytest.raises(Stopped):
        running.run(cell, watcher)


def memory_for(monkeypatch, images: int) -> None:
    """Let training have memory for so many images at once."""
    whole = Training._loss

    def limited(self, batch, targets):
        if len(batch) > images:
            raise torch.OutOfMemoryError("CUDA out of memory: tried to allocate 2 GiB")
        return whole(self, batch, targets)

    monkeypatch.setattr(Training, "_loss", limited)


@pytest.mark.parametrize("damage", ["cut", "flip", "text"])
def test_a_damaged_checkpoint_is_set_aside_and_the_cell_starts_over(tmp_path, damage):
    straight = running.run(one(tmp_path / "straight"))
    cell, notes = one(tmp_path / "broken"), []
    stop_after(3, cell)
    folder = tmp_path / "broken" / "runs" / cell.key
    content = bytearray((folder / "checkpoint.pt").read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 255
    broken = {"cut": content[: len(content) // 2], "flip": content, "text": b"no checkpoint"}[damage]
    (folder / "checkpoint.pt").write_bytes(broken)
    record = running.run(cell, running.Watcher(note=notes.append))
    assert numbers(record) == numbers(straight)
    assert (folder / "checkpoint.pt.damaged1").read_bytes() == broken
    assert "is damaged" in notes[0] and "starts over" in notes[0]


def test_a_batch_that_does_not_fit_is_trained_in_parts_and_the_record_says_so(tmp_path, monkeypatch):
    memory_for(monkeypatch, 8)
    notes: list[str] = []
    record = running.run(one(tmp_path), running.Watcher(note=notes.append))
    assert record["status"] == "done"
    assert record["provenance"]["micro_batch"] == 8
    assert record["reason"] == "out of memory with 32 images at once: trained in micro-batches of 8"
    assert len(notes) == 2  # 16, then 8
    assert record["config"]["recipe"]["batch_size"] == 32
    assert record["key"] == one(tmp_path).key
    folder = tmp_path / "runs" / record["key"]
    assert not (folder / "micro_batch").exists() and not (folder / "checkpoint.pt").exists()


def test_an_interrupted_cell_goes_on_in_parts_of_the_same_size(tmp_path, monkeypatch):
    memory_for(monkeypatch, 16)
    straight = running.run(one(tmp_path / "straight"))
    cell = one(tmp_path / "broken")
    stop_after(3, cell)
    monkeypatch.undo()  # memory has become free, and still nothing changes within the cell
    record = running.run(cell)
    assert record["provenance"]["micro_batch"] == 16
    assert numbers(record) == numbers(straight)
    assert record["reason"] == straight["reason"]


def test_a_cell_that_never_fits_says_so_with_its_traceback(tmp_path, monkeypatch):
    memory_for(monkeypatch, 0)
    record = running.run(one(tmp_path))
    assert record["status"] == "out_of_memory"
    assert "CUDA out of memory" in record["reason"]
    assert "OutOfMemoryError" in record["traceback"]


def test_gradients_of_parts_add_up_to_those_of_the_batch():
    def step(micro: int | None) -> dict[str, torch.Tensor]:
        config = Config()
        config.recipe.optimizer.name, config.recipe.optimizer.momentum = "momentum", 0.0
        config.hardware.micro_batch = micro
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(48, 10))
        training = Training(network, Task(config), config, 1, Group())
        training.take(torch.randn(20, 3, 4, 4), torch.arange(20) % 10)
        return {**network.state_dict(), "loss": training.loss_sum}

    whole, parts = step(None), step(8)
    assert all(torch.allclose(whole[name], parts[name], atol=1e-6) for name in whole)
    assert all(torch.equal(whole[name], same) for name, same in step(20).items())


def test_a_cell_over_its_time_fails_and_goes_on_where_it_was_when_it_may(tmp_path, console):
    hurried = one(tmp_path, "launch.limit_min=0.0001", "launch=inline")
    assert sweep([hurried], hurried.config.launch, console) == 1
    record = records.find(tmp_path, hurried.key)
    assert record["status"] == "failed"
    assert record["reason"] == "took longer than the 0.0001 min that launch.limit_min allows"
    assert "Overdue" in record["traceback"]
    again = one(tmp_path, "launch=inline", "launch.retry=true")
    assert again.key == hurried.key
    assert sweep([again], again.config.launch, console) == 0
    assert records.find(tmp_path, again.key)["status"] == "done"


def test_what_a_cell_raises_is_in_its_record_and_log_without_this_machines_paths(
    tmp_path, console, monkeypatch
):
    def broken(*_):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(running, "build", broken)
    cell = one(tmp_path)
    assert sweep([cell], Launch(executor="inline"), console) == 1
    record = records.find(tmp_path, cell.key)
    assert record["reason"] == "RuntimeError: shapes differ"
    assert 'File "attnbench/running.py"' in record["traceback"]
    assert str(Path.cwd()) not in record["traceback"]
    log = (tmp_path / "runs" / cell.key / "log.txt").read_text()
    assert "shapes differ" in log and "started by process" in log
    assert "1 cell failed; launch.retry=true runs them again" in console.export_text()


def test_a_cell_whose_record_cannot_be_made_is_named_and_the_others_go_on(tmp_path, console, monkeypatch):
    place = records.write_first

    def refuse(results, record):
        if record["cell"]["attn"] == "none":
            raise TypeError("keys must be str")
        return place(results, record)

    monkeypatch.setattr(records, "write_first", refuse)
    wanted = cells(tmp_path, "data.size=16")
    assert sweep(wanted, Launch(executor="inline"), console) == 1
    printed = console.export_text()
    assert f"{wanted[0]}: no record: TypeError: keys must be str" in printed
    assert f"1 cell not done: {wanted[0]}; the same command runs it again" in printed
    assert [record["cell"]["attn"] for record in records.read(tmp_path)[0]] == ["se"]


def test_a_damaged_record_is_named_set_aside_and_made_anew(tmp_path, console):
    cell = one(tmp_path)
    file = records.path(tmp_path, cell.key)
    file.parent.mkdir(parents=True)
    file.write_text("{half a rec")
    assert sweep([cell], Launch(executor="inline"), console) == 0
    assert f"damaged record {cell.key}.json" in console.export_text()
    assert records.find(tmp_path, cell.key)["status"] == "done"
    assert file.with_name(f"{file.name}.damaged1").read_text() == "{half a rec"


def test_a_full_disk_stops_the_sweep_and_the_same_command_goes_on(small_disk, console):
    disk, remount = small_disk
    wanted = cells(disk, "data.size=16", attn=("none", "se"))
    assert sweep(wanted, Launch(executor="inline"), console) == 2
    printed = console.export_text()
    assert "the disk is full" in printed
    assert "2 cells not run" not in printed  # the second was not even begun
    assert records.read(disk) == ([], {})
    remount("size=64m")
    assert sweep(wanted, Launch(executor="inline"), console) == 0
    assert [r["status"] for r in records.read(disk)[0]] == ["done", "done"]


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(small_disk, console):
    disk, remount = small_disk
    wanted = cells(disk, "data.size=16", f"runs={disk.parent / 'runs'}")
    records.check_writable(disk)
    remount("ro")
    with pytest.raises(Unwritable, match="read-only"):
        sweep(wanted, Launch(executor="inline"), console)
    with pytest.raises(Unwritable, match="read-only"):
        running.run(wanted[0])
    assert records.read(disk) == ([], {})
    assert not (disk.parent / "runs").exists()


def test_a_record_that_another_process_made_meanwhile_is_left_as_it_is(tmp_path):
    cell = one(tmp_path)
    first = running.run(cell)
    stamp = records.stamp(tmp_path, cell.key)
    assert running.run(cell)["provenance"] == first["provenance"]
    assert records.stamp(tmp_path, cell.key) == stamp
    replaced = running.run(cell, seen=stamp)
    assert records.stamp(tmp_path, cell.key) != stamp
    assert numbers(replaced) == numbers(first)


@pytest.mark.parametrize("executor", ["inline", pytest.param("processes", marks=pytest.mark.slow)])
def test_two_sweeps_at_once_share_the_cells_and_record_each_once(tmp_path, executor, console):
    """One in a process of its own; the other starts here once the first is at a cell."""
    words = ["data.size=16", "recipe.epochs=4"]
    wanted = cells(tmp_path, *words, attn=("none", "se", "eca"))
    folders = [f"results={tmp_path}", f"runs={tmp_path / 'runs'}"]
    words = ["-m", "attn=none,se,eca", *QUICK, *words, f"launch={executor}", "launch.jobs=1", *folders]
    command = [sys.executable, "-m", "attnbench", *words]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while first.poll() is None and not list(tmp_path.glob("runs/*/log.txt")):
        time.sleep(0.01)
    assert sweep(wanted, Launch(executor=executor, jobs=1), console) == 0
    printed, _ = first.communicate(timeout=300)
    assert first.returncode == 0, printed
    found = records.read(tmp_path)[0]
    assert [r["status"] for r in found] == ["done"] * 3
    logs = [(tmp_path / "runs" / r["key"] / "log.txt").read_text() for r in found]
    assert [log.count("started by process") for log in logs] == [1, 1, 1]
