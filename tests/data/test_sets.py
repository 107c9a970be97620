"""The sets that live on the device: scenes, and CIFAR from small batches in the official format."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from hashlib import md5
from importlib import import_module

import numpy as np
import pytest
import torch
from torchvision import datasets

from attnbench.config import load as compose
from attnbench.config.files import names
from attnbench.config.schema import Data
from attnbench.data import load, present
from attnbench.data.pipeline.order import generator
from attnbench.data.readers import scenes
from attnbench.data.scenes import digits
from attnbench.errors import UserError

CPU = torch.device("cpu")
COUNTS = {"train": 100, "val": 50, "test": 50}


def _scenes(**settings):
    return load(Data(**{"name": "scenes", **COUNTS, **settings}), CPU)


def test_scenes_are_the_same_each_time():
    first = _scenes()
    digits.paint.cache_clear()
    again = _scenes()
    assert first.checksum == again.checksum
    assert torch.equal(first.train.images, again.train.images)


def test_scenes_have_the_size_classes_and_counts_asked_for():
    found = _scenes(size=20)
    assert found.classes == [str(n) for n in range(10)]
    for split, count in COUNTS.items():
        part = getattr(found, split)
        assert len(part) == count
        assert np.bincount(part.labels, minlength=10).tolist() == [count // 10] * 10
        x, y = next(part.batches(count))
        assert x.shape == (count, 3, 20, 20)
        assert torch.equal(y, torch.from_numpy(part.labels))


def test_files_say_how_many_training_images_are_made():
    parts = [("scenes", task, module) for task, module in scenes.PARTS.items()]
    parts += [(name, "cls", "attnbench.data.scenes.probes") for name in names("data") if "probe" in name]
    parts = [part for part in parts if part[0] != "probe_order"]
    for name, task, module in [*parts, ("probe_order", "clip", "attnbench.data.readers.probe_order")]:
        served = compose.unchecked(f"data={name}", f"task={task}").data.tasks[task]
        assert served.train == import_module(module).COUNTS["train"], (name, task)


def test_another_split_seed_changes_all_but_the_test_images():
    one, two = _scenes(), _scenes(split_seed=1)
    assert torch.equal(one.test.images, two.test.images)
    assert not torch.equal(one.train.images, two.train.images)
    assert not torch.equal(one.val.images, two.val.images)
    assert one.checksum != two.checksum


def test_fewer_scenes_are_the_first_of_more():
    few, more = _scenes(train=70), _scenes(train=700)
    assert torch.equal(few.train.images, more.train.images[:70])
    assert np.array_equal(few.train.labels, more.train.labels[:70])


@pytest.mark.parametrize("seed", [0, 1])
def test_no_handwritten_digit_is_in_two_splits(seed):
    """scikit-learn's digits are all different, so that strokes identify one."""
    pools = {split: digits.digits(split, seed) for split in COUNTS}
    rows = {split: {d.tobytes() for d in pool.strokes} for split, pool in pools.items()}
    assert sum(map(len, rows.values())) == len(set.union(*rows.values())) == 1797
    assert all(set(pool.labels) == set(range(10)) for pool in pools.values())
    assert rows["test"] == {d.tobytes() for d in digits.digits("test", 7).strokes}


def test_an_outline_lies_where_its_pose_says():
    strokes = torch.ones(2, 8, 8)
    where = digits.Pose(torch.tensor([[0.5, 0.5], [0.25, 0.75]]), torch.tensor([0.5, 0.5]), torch.zeros(2))
    cover = digits.outline(strokes, where, 32)
    assert (cover[0, 9:23, 9:23] > 0.99).all()
    assert (cover[1, 1:15, 17:31] > 0.99).all()
    for one, side in zip(cover, (slice(8, 24), slice(0, 16))):
        assert float(one.sum()) == pytest.approx(16 * 16, rel=0.1)
        assert float(one[side].sum()) > 0.9 * float(one.sum())


def test_an_outline_turns_by_its_angle():
    strokes = torch.zeros(1, 8, 8)
    strokes[:, :, 3:5] = 1  # an upright bar
    middle, side = torch.tensor([[0.5, 0.5]]), torch.tensor([0.8])
    upright = digits.outline(strokes, digits.Pose(middle, side, torch.zeros(1)), 32)
    turned = digits.outline(strokes, digits.Pose(middle, side, torch.full((1,), torch.pi / 2)), 32)
    assert torch.allclose(turned, upright.transpose(1, 2), atol=1e-4)


def test_every_outline_of_a_digit_lies_in_the_image():
    where = digits.pose(generator(0), 500)
    half = where.side[:, None] / 2
    assert (where.centre >= half - 1e-6).all()
    assert (where.centre <= 1 - half + 1e-6).all()
    assert (where.angle.abs() <= digits.TILT).all()


def test_the_digit_can_be_seen():
    """A nearest-mean classifier on outlines without clutter is right far more often than by chance."""
    pool = digits.digits("train", 0)
    means = np.stack([pool.strokes[pool.labels == n].mean(0) for n in range(10)])
    test = digits.digits("test", 0)
    distance = ((test.strokes[:, None] - means) ** 2).sum((2, 3))
    assert (distance.argmin(1) == test.labels).mean() > 0.8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": 9}, r"data\.classes=9.*has 10"),
        ({"channels": 1, "mean": [0.5], "std": [0.2]}, r"data\.channels=1.*has 3"),
        ({"options": {"digits": 2}}, "unknown option"),
        ({"mean": [0.5]}, r"data\.mean"),
    ],
)
def test_settings_that_scenes_cannot_have_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        _scenes(**settings)


@pytest.mark.parametrize(
    ("word", "message"),
    [("train=0", r"data\.train=0: must be 1"), ("std=[0.2,0,0.2]", r"data\.std=.*above 0")],
)
def test_settings_out_of_range_are_refused(word, message):
    with pytest.raises(UserError, match=message):
        compose.configure([f"data.{word}"])


def test_an_unknown_reader_is_refused_with_near_names():
    with pytest.raises(UserError, match="did you mean scenes"):
        load(Data(name="scene"), CPU)


def test_sets_are_listed_without_torch():
    code = "import sys, attnbench.data as d; from attnbench.config.files import names; print(names('data')); "
    done = subprocess.run(
        [sys.executable, "-c", code + "sys.exit('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert {"scenes", "cifar10", "cifar100", "imagenet", "imagefolder"} <= set(names("data"))


def _write(path, content):
    path.write_bytes(pickle.dumps(content))
    return [path.name, md5(path.read_bytes()).hexdigest()]


def _batch(classes, seed, key):
    rng = generator(seed)
    return {"data": rng.integers(0, 256, (20 * classes, 3072), np.uint8), key: [*range(classes)] * 20}


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """A small CIFAR-10: official layout, own md5."""
    folder = tmp_path / datasets.CIFAR10.base_folder
    folder.mkdir()
    train = [_write(folder / f"data_batch_{n}", _batch(10, n, "labels")) for n in (1, 2)]
    meta = _write(folder / "batches.meta", {"label_names": [f"class {n}" for n in range(10)]})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", train)
    monkeypatch.setattr(
        datasets.CIFAR10, "test_list", [_write(folder / "test_batch", _batch(10, 9, "labels"))]
    )
    monkeypatch.setattr(datasets.CIFAR10, "meta", {**datasets.CIFAR10.meta, "md5": meta[1]})

    def fetch(self):
        raise AssertionError("reached for the network")

    monkeypatch.setattr(datasets.CIFAR10, "download", fetch)
    return folder


def _cifar(root, **settings):
    return load(Data(**{"name": "cifar10", "source": "cifar", "root": str(root), **settings}), CPU)


def test_cifar_splits_are_balanced_disjoint_and_complete(cifar10):
    found = _cifar(cifar10.parent)
    assert found.classes[3] == "class 3"
    assert [len(s) for s in (found.train, found.val, found.test)] == [360, 40, 200]
    for part, each in ((found.train, 36), (found.val, 4), (found.test, 20)):
        assert np.bincount(part.labels).tolist() == [each] * 10
    rows = [{i.numpy().tobytes() for i in part.images} for part in (found.train, found.val, found.test)]
    assert len(set.union(*rows)) == 600


def test_cifar_images_are_the_files_pixels_with_their_labels(cifar10):
    found = _cifar(cifar10.parent)
    batch = pickle.loads((cifar10 / "test_batch").read_bytes())
    assert np.array_equal(found.test.images.permute(0, 3, 1, 2).reshape(200, -1), batch["data"])
    assert found.test.labels.tolist() == batch["labels"]


def test_cifar_is_found_directly_and_in_its_usual_folder(cifar10):
    renamed = cifar10.parent / "mine"
    checksum = _cifar(cifar10.parent).checksum
    assert _cifar(cifar10).checksum == checksum
    cifar10.rename(renamed)
    assert _cifar(renamed).checksum == checksum


def test_the_checksum_tells_other_pixels_splits_and_counts_apart(cifar10):
    sums = {_cifar(cifar10, **s).checksum for s in ({}, {"split_seed": 1}, {"train": 100}, {"test": 100})}
    assert len(sums) == 4


def test_a_damaged_file_is_named_with_what_to_do(cifar10):
    path = cifar10 / "data_batch_2"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"data_batch_2 is damaged: its md5 is .*data\.download=true"):
        _cifar(cifar10)


def test_a_damaged_pickle_is_never_unpickled(cifar10):
    (cifar10 / "batches.meta").write_bytes(b"cos\nabort\n(tR.")
    with pytest.raises(UserError, match=r"batches\.meta is damaged"):
        _cifar(cifar10)


def test_a_missing_file_is_named(cifar10):
    (cifar10 / "test_batch").unlink()
    with pytest.raises(UserError, match=r"test_batch is missing.*data\.download=true"):
        _cifar(cifar10)


def test_a_missing_set_says_where_it_was_looked_for_and_what_fetches_it(tmp_path):
    with pytest.raises(
        UserError, match=r"cifar-10-batches-py/.*data=cifar10 data\.root=.*data\.download=true"
    ):
        _cifar(tmp_path)
    with pytest.raises(UserError, match=r"data\.root=FOLDER"):
        load(Data(name="cifar10", source="cifar"), CPU)


def test_only_download_lets_torchvision_fetch(tmp_path, cifar10, monkeypatch):
    away = cifar10.rename(tmp_path / "away")
    with pytest.raises(UserError, match="is missing"):
        _cifar(tmp_path)
    monkeypatch.setattr(datasets.CIFAR10, "download", lambda self: away.rename(cifar10))
    assert len(_cifar(tmp_path, download=True).test) == 200


def test_a_fetch_that_fails_is_told(tmp_path, monkeypatch):
    def offline(self):
        raise OSError("no route to host")

    monkeypatch.setattr(datasets.CIFAR10, "download", offline)
    with pytest.raises(UserError, match=r"could not be fetched from http.*no route to host"):
        _cifar(tmp_path, download=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": 100}, "has 10"),
        ({"name": "cifar1O"}, "did you mean cifar10"),
        ({"options": {"val_shar": 0.2}}, "did you mean val_share"),
        ({"options": {"val_share": "much"}}, "must be of type float"),
        ({"val": 41}, r"data\.val=41, but the val split has 40"),
        ({"train": 361}, r"data\.train=361"),
    ],
)
def test_settings_that_cifar_cannot_have_are_refused(cifar10, settings, message):
    with pytest.raises(UserError, match=message):
        _cifar(cifar10, **settings)


def test_cifar100_has_its_fine_classes(tmp_path, monkeypatch):
    folder = tmp_path / datasets.CIFAR100.base_folder
    folder.mkdir()
    batch = {**_batch(100, 1, "fine_labels"), "coarse_labels": [0] * 2000}
    monkeypatch.setattr(datasets.CIFAR100, "train_list", [_write(folder / "train", batch)])
    monkeypatch.setattr(datasets.CIFAR100, "test_list", [_write(folder / "test", batch)])
    meta = _write(
        folder / "meta", {"fine_label_names": [str(n) for n in range(100)], "coarse_label_names": []}
    )
    monkeypatch.setattr(datasets.CIFAR100, "meta", {**datasets.CIFAR100.meta, "md5": meta[1]})
    found = load(Data(name="cifar100", source="cifar", classes=100, root=str(tmp_path)), CPU)
    assert len(found.classes) == 100
    assert np.bincount(found.val.labels).tolist() == [2] * 100


@pytest.mark.data
@pytest.mark.parametrize(("name", "file"), [("cifar10", "test_batch"), ("cifar100", "test")])
def test_the_official_test_images_pass_their_md5(name, file, data_root, tmp_path, monkeypatch):
    """They also stand for the training images, since restoring all of those takes long."""
    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    monkeypatch.setattr(kind, "train_list", kind.test_list)
    root = data_root
    if not (root / kind.base_folder).is_dir():
        root = _restore(data_root, f"{name}_sheets", [file, kind.meta["filename"]], tmp_path)
    count = int(name.removeprefix("cifar"))
    found = load(Data(name=name, source="cifar", classes=count, root=str(root)), CPU)
    assert np.bincount(found.test.labels).tolist() == [10000 // count] * count
    assert found.classes[:2] == [["airplane", "automobile"], ["apple", "aquarium_fish"]][count == 100]
    mean = found.test.images.float().mean((0, 1, 2)) / 255
    assert torch.allclose(mean, torch.tensor([0.50, 0.485, 0.445]), atol=0.015)


def _restore(data_root, sheets, files, out):
    """A folder with these official files, from their lossless sheets, by the script that lies beside them."""
    script, source = data_root / "restore_cifar.py", data_root / sheets
    if not script.is_file() or not source.is_dir():
        pytest.skip(f"neither the official batches nor {sheets} with restore_cifar.py in {data_root}")
    part = out / "sheets"
    part.mkdir()
    index = json.loads((source / "index.json").read_text())
    index["files"] = {name: index["files"][name] for name in files if name in index["files"]}
    (part / "index.json").write_text(json.dumps(index))
    for name in [*files, *(f"{name}.frame.xz" for name in index["files"])]:
        (part / name).symlink_to(source / name)
    subprocess.run([sys.executable, script, part, out], check=True, capture_output=True)
    return out


@pytest.mark.parametrize(
    ("name", "words", "offered"),
    [("cifar10", [], True), ("imagenette", [], True), ("camvid", ["task=seg"], False)],
)
def test_a_download_is_offered_only_where_there_is_one(name, words, offered):
    with pytest.raises(UserError, match="no such folder") as error:
        present(compose.configure([f"data={name}", "data.root=nowhere", *words]).data)
    assert ("data.download=true" in str(error.value)) is offered


LEAST = {"cls": 50, "seg": 50, "clip": 80, "skeleton": 60, "sequence": 50, "retrieval": 400}


@pytest.mark.parametrize("task", LEAST)
def test_every_split_of_every_embedded_set_has_the_size_asked_for(task):
    """`data.test` counts for each task, as `data.train` and `data.val` do."""
    network = ["backbone=lstm"] if task == "skeleton" else []
    served = compose.configure([f"task={task}", "recipe=none", *network]).data
    asked = {"train": LEAST[task] + 40, "val": LEAST[task] + 20, "test": LEAST[task]}
    found = load(replace(served, size=16, **asked), CPU, task=task)
    assert {split: len(getattr(found, split)) for split in asked} == asked


def test_every_embedded_set_is_tried():
    assert set(compose.configure(["data=scenes"]).data.tasks) == set(LEAST)


def test_the_handwritten_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    from attnbench.data.scenes.digits import _handwritten

    found, expected = _handwritten(), load_digits()
    assert np.array_equal(found.strokes, expected.images.astype(np.float32) / 16)
    assert np.array_equal(found.labels, expected.target)


def test_the_default_cell_imports_only_what_it_uses(tmp_path):
    words = ["data.train=64", "data.val=32", "data.test=32", "recipe.epochs=1", "recipe.batch_size=32"]
    words += [
        "recipe.schedule.warmup_epochs=0",
        "cost.latency=false",
        f"results={tmp_path}",
        f"runs={tmp_path}",
    ]
    code = (
        f"import sys; from attnbench.cli.main import main; main(['attn=eca', *{words!r}]); "
        "others = {'timm', 'torchvision', 'sklearn', 'scipy.stats', 'wandb', 'pandas'}; "
        "print(sorted(others & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
