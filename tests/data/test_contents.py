"""A data set is known by what it holds: in pairing, tables, checkpoints, and where records are looked up."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from attnbench import records, running
from attnbench.cli.main import main
from attnbench.data import contents
from attnbench.data.pipeline import shared_memory, stream
from attnbench.errors import UserError
from attnbench.report.pages.leaderboard import markdown
from attnbench.report.tables.conditions import differing
from attnbench.report.tables.table import tables
from attnbench.sweeping.experiment import cell
from attnbench.training.distributed import Group
from attnbench.training.loop import Checkpoint, Damaged
from tests.factories import record

SHORT = [
    "recipe.epochs=1",
    "recipe.batch_size=8",
    "cost.latency=false",
    "cost.memory=false",
    "cost.counters=false",
]


def images(root: Path, first: int = 0) -> Path:
    """Two classes of twelve and two images of 8x8 px."""
    for part, count in (("train", 12), ("val", 2)):
        for label, name in enumerate(("ant", "bee")):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                rng = np.random.default_rng(first + 100 * label + i)
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(
                    root / part / name / f"{i}.png"
                )
    return root


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("ATTNBENCH_CACHE", str(tmp_path / "cache"))
    contents._recorded.cache_clear()
    folders = [f"results={tmp_path / 'results'}", f"runs={tmp_path / 'runs'}"]
    return ["data=imagefolder", "data.name=mine", "data.classes=2", "data.size=8", *SHORT, *folders]


def refused(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_other_data_under_a_name_that_records_have_is_refused_in_one_line(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = images(tmp_path / "here"), images(tmp_path / "there", 5000)
    assert main([*words, f"data.root={here}", "attn=none"]) == 0
    capsys.readouterr()
    contents._recorded.cache_clear()
    for attn in ("none", "se"):  # done before, and new
        line = refused([*words, f"data.root={there}", f"attn={attn}"], capsys)
        assert f"data set 'mine' in {there} does not hold what the records of this name" in line
        assert "data.name=NAME" in line
    assert main([*words, f"data.root={there}", "attn=se", "data.name=other"]) == 0
    assert len(list((tmp_path / "results" / "cells").glob("*.json"))) == 2


def test_a_copy_elsewhere_is_the_same_data(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    here, copy = images(tmp_path / "here"), images(tmp_path / "copy")
    assert main([*words, f"data.root={here}"]) == 0
    contents._recorded.cache_clear()
    assert main([*words, f"data.root={copy}"]) == 0
    assert "already done" in capsys.readouterr().out


def test_a_set_that_was_read_before_is_confirmed_without_reading(
    tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = images(tmp_path / "here")
    done = cell([*words, f"data.root={here}"])
    running.run(done)
    monkeypatch.setattr(contents, "_read", lambda config: pytest.fail("was read again"))
    contents.confirm([done])
    monkeypatch.setattr(contents, "_read", lambda config: "files:0123456789abcdef")
    os.utime(here / "train", (1, 1))
    with pytest.raises(UserError, match=r"checksum files:0123456789abcdef, theirs files:"):
        contents.confirm([done])


def test_records_with_checksums_of_names_are_neither_the_same_nor_others(
    tmp_path: Path, words: list[str]
) -> None:
    done = cell([*words, f"data.root={images(tmp_path / 'here')}"])
    made = done.record("done", provenance={"data_checksum": "0123456789abcdef"})
    records.write(tmp_path / "results", made)
    contents.confirm([done])
    contents.check(done.config, "files:0123456789abcdef")
    with pytest.raises(UserError, match="theirs 0123456789abcdef"):
        contents.check(done.config, "fedcba9876543210")


def test_generated_sets_are_never_refused(tmp_path: Path) -> None:
    done = cell([f"results={tmp_path}"])
    records.write(tmp_path, done.record("done", provenance={"data_checksum": "0123456789abcdef"}))
    contents.check(done.config, "fedcba9876543210")
    contents.confirm([done])


def test_records_on_other_data_are_not_paired(tmp_path: Path) -> None:
    made = [
        record(a, s, 60.0 + s, provenance__data_checksum=f"files:{'a' * 16}")
        for a in ("none", "se")
        for s in range(3)
    ]
    other = record("se", 3, 90.0, provenance__data_checksum=f"files:{'b' * 16}", key="other")
    first, second = sorted(tables([*made, other]), key=lambda table: len(table.records), reverse=True)
    assert len(first.records) == 6 and [r["cell"]["seed"] for r in second.records] == [3]
    assert second.control is None and second.rows[0].effect is None
    assert differing(second, [first]) == f"data checksum={'b' * 10}"
    assert f"files:{'a' * 16}" in markdown(first, {})


def test_old_checksums_stay_in_the_table() -> None:
    made = [
        record("none", 0, 60.0, provenance__data_checksum="0123456789abcdef"),
        record("se", 0, 61.0, provenance__data_checksum="files:0123456789abcdef"),
        record("eca", 0, 61.0, provenance__data_checksum=None),
    ]
    assert len(tables(made)) == 1


def test_a_checkpoint_does_not_go_on_over_other_data(tmp_path: Path) -> None:
    class Training:
        device = torch.device("cpu")
        restored = None

        def state(self) -> dict:
            return {"weights": torch.ones(2)}

        def restore(self, state: dict) -> None:
            self.restored = state["weights"]

    training, file = Training(), tmp_path / "checkpoint.pt"
    group = Group(0, 1)
    Checkpoint(file, 60, group, "files:a").save(training, [{"epoch": 1.0}])  # type: ignore[arg-type]
    assert Checkpoint(file, 60, group, "files:a").load(training) == [{"epoch": 1.0}]  # type: ignore[arg-type]
    training.restored = None
    with pytest.raises(
        Damaged, match=r"data set has changed since .*checkpoint\.pt was written; kept as .*starts over"
    ):
        Checkpoint(file, 60, group, "files:b").load(training)  # type: ignore[arg-type]
    assert training.restored is None and not file.exists()


# Shared memory


def test_a_small_shared_memory_is_refused_before_the_first_batch(
    tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory, "available", lambda: 3000)
    each = cell([*words, f"data.root={images(tmp_path / 'here')}", "hardware.workers=2"])
    with pytest.raises(UserError) as error:
        running.run(each)
    # Five batches of 16 images of 8x8x3 bytes: evaluation's are twice as large as training's.
    assert (
        f"2 loader processes need {5 * 16 * 192 / 1e6:.0f} MB of shared memory (/dev/shm), and 0 MB are free"
        in str(error.value)
    )
    assert "--shm-size=1g" in str(error.value) and "hardware.workers=N (0: no loader processes)" in str(
        error.value
    )
    assert not list((tmp_path / "results" / "cells").glob("*.json"))


@pytest.mark.parametrize(("workers", "free"), [(0, 0), (2, None), (2, 10**9)])
def test_enough_shared_memory_or_none_needed_is_fine(
    workers: int, free: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory, "available", lambda: free)
    shared_memory.check(10**8, workers)


def test_a_stalled_loader_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    from attnbench.data.pipeline.order import Plan

    class Asleep(torch.utils.data.Dataset):
        def __getitem__(self, step: int) -> torch.Tensor:
            time.sleep(60)
            return torch.zeros(1)

    monkeypatch.setattr(stream, "STALLED", 1)
    with pytest.raises(
        RuntimeError, match=r"no batch for 1 s from loader processes: 1 loader processes need 3 MB"
    ):
        next(iter(stream.loader(Asleep(), Plan(4, 2), 1, torch.device("cpu"), 10**6)))
