"""Sequences: digits to be read in order, the decoder that is taught and then reads alone, metrics by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from attnbench import data, running, tasks
from attnbench.backbones import whole
from attnbench.data.readers import svhn
from attnbench.data.scenes import sequence
from attnbench.errors import UserError
from attnbench.sweeping.experiment import cell
from attnbench.tasks._decoder import MeanDecoder
from attnbench.tasks.sequence import AFTER, Meter

CPU = torch.device("cpu")
SMALL = ["task=sequence", "data.size=16", "data.train=64", "data.val=16", "data.test=16"]


def built(*arguments: str):
    each = cell([*SMALL, *arguments])
    task = tasks.load(each.config)
    return running.build(each, task), task


# The data


@pytest.fixture(scope="module")
def read():
    return data.load(cell(SMALL).config.data, CPU, 0, "sequence")


def test_labels_end_with_the_end_and_nothing_counts_after_it(read):
    targets = read.train.targets
    assert targets.shape == (64, 4)
    ends = (targets == 10).sum(1)
    assert (ends == 1).all()
    where = (targets == 10).int().argmax(1)
    assert set(where.tolist()) == {1, 2, 3}
    for row, end in zip(targets, where):
        assert ((row[:end] >= 0) & (row[:end] < 10)).all()
        assert (row[end + 1 :] == AFTER).all()


def test_targets_by_hand():
    found = sequence.targets_of(np.array([[7, 1, 2], [3, 4, 5]]), np.array([1, 3]), 10)
    assert found.tolist() == [[7, 10, AFTER, AFTER], [3, 4, 5, 10]]


def test_digits_stand_from_left_to_right_within_the_picture():
    count = np.array([1, 2, 3, 3, 2])
    poses = sequence._poses(np.random.default_rng(0), count, 3)
    across = torch.stack([pose.centre[:, 1] for pose in poses], 1)
    for row, n in zip(across, count):
        assert (row[:n].diff() > 0.2).all()
        assert (row[:n] > 0).all()
        assert (row[:n] < 1).all()


def test_pictures_are_the_same_each_time_and_batches_resume(read):
    sequence.paint.cache_clear()
    again = data.load(cell(SMALL).config.data, CPU, 0, "sequence")
    assert again.checksum == read.checksum
    every = list(read.train.batches(16, seed=3, shuffle=True))
    later = next(iter(read.train.batches(16, seed=3, shuffle=True, start=2)))
    assert torch.equal(later[0], every[2][0])
    assert torch.equal(later[1], every[2][1])


@pytest.mark.parametrize(
    ("argument", "message"),
    [("recipe.augment.flip=true", "left and right"), ("recipe.augment.cutmix=1.0", "cannot mix its targets")],
)
def test_what_would_spoil_the_order_is_refused(argument: str, message: str):
    with pytest.raises(UserError, match=message):
        cell([*SMALL, argument])


# The task


def test_the_control_is_taught_in_training_and_reads_its_own_words_after():
    torch.manual_seed(0)
    decoder, maps = MeanDecoder(8, 11, 4), torch.randn(3, 8, 2, 2)
    greedy = decoder(maps)
    own = greedy.argmax(2)
    assert torch.allclose(decoder(maps, own), greedy, atol=1e-6)
    other = (own + 1) % 11
    taught = decoder(maps, other)
    assert torch.allclose(taught[:, 0], greedy[:, 0], atol=1e-6)
    assert not torch.allclose(taught[:, 1], greedy[:, 1], atol=1e-3)


def test_what_follows_the_end_teaches_nothing():
    decoder, maps = MeanDecoder(8, 11, 4), torch.randn(1, 8, 2, 2)
    targets = torch.tensor([[3, 10, AFTER, AFTER]])
    _, task = built()
    scores = decoder(maps, targets).detach().requires_grad_()
    task.loss(scores, targets).backward()
    assert scores.grad[0, :2].abs().sum() > 0
    assert not scores.grad[0, 2:].any()


@pytest.mark.parametrize("backbone", ["resnet8", "whole"])
def test_networks_name_every_step(backbone: str):
    model, task = built(f"backbone={backbone}")
    images, targets = torch.randn(4, 3, 16, 16), torch.tensor([[1, 2, 10, AFTER]] * 4)
    scores = model.train()(*task.inputs(images, targets))
    assert scores.shape == (4, 4, 11)
    task.loss(scores, targets).backward()
    assert task.predict(model.eval(), images).shape == (4, 4, 11)


@pytest.mark.parametrize(("attn", "backbone"), [("soft_attention", "resnet8"), ("dram", "whole")])
def test_attention_stands_instead_of_the_control(attn: str, backbone: str):
    model, task = built(f"attn={attn}", f"backbone={backbone}")
    images, targets = torch.randn(4, 3, 16, 16), torch.tensor([[1, 2, 10, AFTER]] * 4)
    scores = model.train()(*task.inputs(images, targets))
    assert scores.shape == (4, 4, 11)
    assert task.predict(model.eval(), images).shape == (4, 4, 11)


def test_an_mlp_and_kinds_that_do_not_exist():
    model = whole.build(10, (1, 6, 5), kind="mlp", width=7)
    assert sum(p.numel() for p in model.parameters()) == 31 * 7 + 8 * 7 + 8 * 10
    with pytest.raises(UserError, match="did you mean mlp"):
        whole.build(10, (1, 6, 5), kind="mlpp")


def test_metrics_by_hand():
    """Three images: all right; the second symbol wrong; all right but for what follows the end."""
    targets = torch.tensor([[1, 10, AFTER], [1, 2, 10], [10, AFTER, AFTER]])
    named = torch.tensor([[1, 10, 5], [1, 3, 10], [10, 7, 7]])
    scores = torch.nn.functional.one_hot(named, 11) * 2.0
    parts = [Meter(CPU), Meter(CPU)]
    parts[0].update(scores[:1], targets[:1])
    parts[1].update(scores[1:], targets[1:])
    parts[0].sums += parts[1].sums
    found = parts[0].compute()
    assert found["sequence_accuracy"] == pytest.approx(100 * 2 / 3)
    assert found["symbol_accuracy"] == pytest.approx(100 * 5 / 6)
    right = -2 + torch.logsumexp(torch.tensor([2.0] + [0.0] * 10), 0)
    assert found["loss"] == pytest.approx(float(right + 2 / 6), rel=1e-5)


def test_a_cell_runs_to_its_record(tmp_path: Path):
    words = ["recipe.epochs=1", "cost.latency=false", "cost.memory=false", "hardware.threads=1"]
    record = running.run(cell([*SMALL, *words, f"results={tmp_path}", f"runs={tmp_path}"]))
    assert record["status"] == "done", record["reason"]
    assert set(record["metrics"]["test"]) == {"sequence_accuracy", "symbol_accuracy", "loss"}
    assert record["cost"]["macs"] > 0


# SVHN


def test_the_box_around_all_digits_grows():
    found = {
        "top": np.array([10.0, 12]),
        "left": np.array([20.0, 30]),
        "height": np.array([20.0, 20]),
        "width": np.array([8.0, 10]),
    }
    assert svhn.around(found) == pytest.approx((10 - 0.15 * 22, 20 - 0.15 * 20, 1.3 * 22, 1.3 * 20))


def numbers(folder: Path, count: int) -> None:
    """House numbers as format 1 has them: the digits 1 to n, of which the last is 0, from right to left."""
    h5py = pytest.importorskip("h5py", reason="no h5py, which reads SVHN's lists")
    folder.mkdir(parents=True)
    with h5py.File(folder / "digitStruct.mat", "w") as file:
        names, boxes = [], []
        for i in range(count):
            n = i % 3 + 1
            Image.new("RGB", (40, 30), (10 * i, 0, 0)).save(folder / f"{i + 1}.png")
            name = file.create_dataset(
                f"#refs#/name{i}", data=np.array([[ord(c)] for c in f"{i + 1}.png"], np.uint16)
            )
            box = file.create_group(f"#refs#/box{i}")
            values = {"label": range(n), "left": range(30, 30 - 5 * n, -5), "top": [3] * n, "height": [9] * n}
            for key, row in {**values, "width": [4] * n}.items():
                row = [10.0 if key == "label" and v == 0 else float(v) for v in row]
                if n == 1:
                    box.create_dataset(key, data=np.array([row]))
                else:
                    held = [
                        file.create_dataset(f"#refs#/{key}{i}_{j}", data=np.array([[v]])).ref
                        for j, v in enumerate(row)
                    ]
                    box.create_dataset(key, data=np.array(held, dtype=object)[:, None], dtype=h5py.ref_dtype)
            names.append(name.ref)
            boxes.append(box.ref)
        for key, refs in (("name", names), ("bbox", boxes)):
            file.create_dataset(
                f"digitStruct/{key}", data=np.array(refs, dtype=object)[:, None], dtype=h5py.ref_dtype
            )


def house(folder: Path, *arguments: str):
    settings = ["data=svhn", f"data.root={folder}", "data.size=16", "task=sequence", *arguments]
    return data.load(cell(settings).config.data, CPU, 0, "sequence")


def test_house_numbers_are_read_from_left_to_right(tmp_path: Path):
    numbers(tmp_path / "train", 30)
    numbers(tmp_path / "test", 6)
    found = house(tmp_path)
    rows = sorted(map(tuple, found.test.targets.tolist()))
    after = (AFTER,) * 4
    assert rows == sorted([(0, 10, *after), (1, 0, 10, *after[1:]), (2, 1, 0, 10, *after[2:])] * 2)
    assert len(found.train) + len(found.val) == 30
    assert house(tmp_path, "data.length=2").test.targets.shape == (4, 3)


def test_a_missing_set_says_what_to_fetch(tmp_path: Path):
    with pytest.raises(UserError, match=r"format 1"):
        house(tmp_path)


def test_a_damaged_list_is_named(tmp_path: Path):
    pytest.importorskip("h5py", reason="no h5py, which reads SVHN's lists")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "digitStruct.mat").write_bytes(b"no HDF5")
    with pytest.raises(UserError, match="is damaged"):
        house(tmp_path)


def test_without_a_reader_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "digitStruct.mat").touch()
    with pytest.raises(UserError, match="pip install h5py"):
        house(tmp_path)
