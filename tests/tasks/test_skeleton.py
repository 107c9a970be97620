"""Skeletons: the embedded figures, SBU Kinect in its folds, the control, and what damaged files say."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from attnbench import data, running
from attnbench.config.recipe import Augment
from attnbench.data.pipeline.order import generator
from attnbench.data.readers import sbu
from attnbench.data.scenes import skeletons
from attnbench.errors import Impossible, UserError
from attnbench.sweeping.experiment import cell

CPU = torch.device("cpu")
SMALL = ["task=skeleton", "backbone=lstm", "data.train=96", "data.val=18", "data.test=18"]


def load(*arguments: str):
    return data.load(cell(["task=skeleton", "backbone=lstm", *arguments]).config.data, CPU, 0, "skeleton")


# Figures


def test_the_opposite_order_of_limbs_is_the_opposite_order_of_bumps():
    names = list(skeletons.CLASSES)
    label = names.index("left arm, left leg")
    joints = skeletons.gestures(generator(0), np.array([label]), 24)[0]
    height = joints[..., 1].sum(1)
    assert height.max() > 0
    arm, leg = joints[:, 3:6].sum((1, 2)), joints[:, 9:12].sum((1, 2))
    assert arm.argmax() < 12 <= leg.argmax()
    assert not joints[:, 6:9].any()
    assert not joints[:, :3].any()


def test_time_reversed_gestures_are_those_of_the_opposite_class_in_the_mean():
    """Over many draws the bumps of (a, b) run backwards lie where those of (b, a) do."""
    names = list(skeletons.CLASSES)
    one, other = names.index("left arm, right arm"), names.index("right arm, left arm")
    many = 600
    here = skeletons.gestures(generator(1), np.full(many, one), 24).mean(0)[::-1]
    there = skeletons.gestures(generator(2), np.full(many, other), 24).mean(0)
    assert np.abs(here - there).max() < 0.15 * np.abs(there).max()


def test_figures_come_in_equal_numbers_and_the_same_each_time():
    first, again = load(*SMALL[2:]), load(*SMALL[2:])
    assert np.bincount(first.train.labels).tolist() == [16] * 6
    assert first.checksum == again.checksum
    assert first.train.joints.shape == (96, 24, 15, 3)
    assert not torch.equal(first.val.joints, first.test.joints)
    assert load(*SMALL[2:], "data.split_seed=1").checksum != first.checksum


def test_batches_are_sequences_and_nothing_augments_them():
    split = load(*SMALL[2:]).train
    plain = next(iter(split.batches(8, seed=1, shuffle=True)))
    augmented = next(iter(split.batches(8, seed=1, shuffle=True, augment=Augment())))
    assert plain[0].shape == (8, 24, 15, 3)
    assert torch.equal(plain[0], augmented[0])
    later = next(iter(split.batches(8, seed=1, shuffle=True, start=3)))
    assert torch.equal(later[0], list(split.batches(8, seed=1, shuffle=True))[3][0])


@pytest.mark.parametrize(
    ("argument", "message"),
    [("data.frames=6", "at least 12"), ("data.joints=9", "has 15"), ("data.classes=5", "has 6")],
)
def test_figures_that_cannot_be_are_refused(argument: str, message: str):
    with pytest.raises(UserError, match=message):
        load(argument)


# The task


def test_the_control_has_the_parameters_of_sta_lstms_main_network():
    each = cell([*SMALL, "data.classes=6"])
    model = running.build(each)
    lstm = sum(p.numel() for p in model.network.lstm.parameters())
    assert lstm == 4 * 100 * (45 + 100) + 800 + 2 * (4 * 100 * 200 + 800)
    assert (model.network.classes, model.network.width) == (6, 100)


def test_the_control_averages_the_scores_of_all_frames():
    model = running.build(cell(SMALL)).eval()
    x = torch.randn(2, 24, 15, 3)
    states = model.network.lstm(x.flatten(2))[0]
    assert torch.allclose(model(x), model.network.classify(states).mean(1), atol=1e-6)


def test_attention_stands_instead_of_the_control():
    model = running.build(cell([*SMALL, "attn=sta_lstm"]))
    assert type(model.network).__name__ == "STALSTM"
    assert model(torch.randn(2, 24, 15, 3)).shape == (2, 6)


def test_what_reads_maps_cannot():
    with pytest.raises(Impossible, match="SE expects maps but receives skeletons"):
        running.build(cell([*SMALL, "attn=se", "site=network"]))


@pytest.mark.parametrize("backbone", ["resnet8", "whole"])
def test_a_backbone_for_images_is_refused(backbone: str):
    with pytest.raises(UserError, match="backbone=lstm"):
        cell(["task=skeleton", f"backbone={backbone}"])


def test_a_cell_learns(tmp_path: Path):
    words = ["data.train=120", "data.frames=12", "recipe=skeleton", "recipe.epochs=3", "hardware.threads=1"]
    words += ["cost.latency=false", "cost.memory=false", f"results={tmp_path}", f"runs={tmp_path}"]
    record = running.run(cell([*SMALL, *words]))
    assert record["status"] == "done", record["reason"]
    assert record["curve"][-1]["train_objective"] < record["curve"][0]["train_objective"]
    assert record["cost"]["input"] == [12, 15, 3]
    assert record["cost"]["macs"] > 12 * 100_000
    assert not record["cost"]["uncounted"]


# SBU Kinect


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sequence of each class for each pair of people, of three or five frames."""
    rng = np.random.default_rng(0)
    tmp_path = tmp_path_factory.mktemp("sbu")
    for pair in (pair for pairs in sbu.FOLDS for pair in pairs):
        for label in range(1, 9):
            file = tmp_path / pair / f"{label:02d}" / "001" / "skeleton_pos.txt"
            file.parent.mkdir(parents=True)
            rows = rng.random((3 + 2 * (label % 2), 90)).round(4)
            file.write_text("\n".join(f"{t}," + ",".join(map(str, row)) for t, row in enumerate(rows)))
    return tmp_path


def sets(folder: Path, *arguments: str):
    return load("data=sbu", f"data.root={folder}", *arguments)


def test_each_sequence_is_tested_in_one_fold_alone(folder: Path):
    every = [sets(folder, f"data.options.fold={fold}").test.joints for fold in range(5)]
    assert [len(part) for part in every] == [32, 32, 32, 32, 40]
    rows = torch.cat(every).flatten(1)
    assert len(rows.unique(dim=0)) == len(rows) == 168


def test_validation_comes_from_the_other_folds(folder: Path):
    found = sets(folder)
    parts = [set(map(tuple, s.joints.flatten(1).tolist())) for s in (found.train, found.val, found.test)]
    assert [len(part) for part in parts] == [122, 14, 32]
    assert not parts[0] & parts[1]
    assert not (parts[0] | parts[1]) & parts[2]


def test_sequences_start_between_the_two_people():
    joints = np.random.default_rng(0).random((4, 30, 3))
    found = sbu.settled(joints, 7)
    assert found.shape == (7, 30, 3)
    np.testing.assert_allclose(found[0, [2, 17]].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(
        found[0, 0, 0] - found[0, 1, 0], -2.56 * (joints[0, 0, 0] - joints[0, 1, 0]), rtol=1e-4
    )
    np.testing.assert_allclose(found[3], (found[2] + found[4]) / 2, atol=0.6)
    np.testing.assert_allclose(found[-1] - found[0], sbu.settled(joints, 2)[1] - found[0], atol=1e-6)


@pytest.mark.parametrize(("fold", "message"), [(-1, "must be 0 or more"), (5, "folds are 0 to 4")])
def test_a_fold_that_does_not_exist(folder: Path, fold: int, message: str):
    with pytest.raises(UserError, match=message):
        sets(folder, f"data.options.fold={fold}")


def damage(folder: Path, how: str) -> None:
    file = folder / "s01s02" / "01" / "001" / "skeleton_pos.txt"
    if how == "short":
        file.write_text(file.read_text()[:-40])
    elif how == "letters":
        file.write_text(file.read_text().replace("0.", "x.", 5))
    elif how == "empty":
        file.write_text("")
    elif how == "class":
        file.parents[1].rename(folder / "s01s02" / "99")
    elif how == "pair":
        (folder / "s03s04").rename(folder / "elsewhere")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("short", r"line 5: 8\d numbers, not 91"),
        ("letters", "line 1: could not convert"),
        ("empty", "is empty"),
        ("class", "'99' is not a class"),
        ("pair", "s03s04 holds no"),
    ],
)
def test_damaged_files_are_named(folder: Path, tmp_path: Path, how: str, message: str):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    damage(tmp_path, how)
    with pytest.raises(UserError, match=message):
        sets(tmp_path)


def test_a_missing_set_says_what_is_looked_for(tmp_path: Path):
    with pytest.raises(UserError, match="no folder s01s02/"):
        sets(tmp_path)


@pytest.mark.data
def test_the_real_set(data_root: Path):
    if not (data_root / "sbu_kinect").is_dir():
        pytest.skip("no SBU Kinect beside the other data sets")
    found = sets(data_root)
    assert (len(found.train) + len(found.val), len(found.test)) == (227, 55)
    assert sorted(np.unique(found.train.labels)) == list(range(8))
    assert found.train.joints.abs().max() < 5


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_joints_that_are_not_finite_are_refused_by_file_and_line(folder: Path, value: str, tmp_path: Path):
    file = sorted(shutil.copytree(folder, tmp_path / "sbu").glob("*/*/*/skeleton_pos.txt"))[0]
    lines = file.read_text().splitlines()
    fields = lines[1].split(",")
    lines[1] = ",".join([fields[0], value, *fields[2:]])
    file.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"skeleton_pos\.txt, line 2: .* not a finite number"):
        sets(tmp_path / "sbu")
