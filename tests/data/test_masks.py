"""Images with masks: folders of known pixels, what is said of damaged ones, and how a pair moves together."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from attnbench import data
from attnbench.config.recipe import Augment
from attnbench.config.schema import Data, Served
from attnbench.data.pipeline.masks import IGNORE, covering
from attnbench.errors import UserError

CPU = torch.device("cpu")
STILL = {"crop": "scaled", "resize": [1.0, 1.0], "flip": False}
SMALL = Data(name="scenes", size=32, classes=11, train=64, val=32, test=32)


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    """A folder as CamVid's, of 12 / 4 / 4 images of 40x30 px; image i of a split shows class i and sky."""
    folder = tmp_path_factory.mktemp("sets") / "CamVid"
    for split, count in (("train", 12), ("val", 4), ("test", 4)):
        lines = []
        for name in (split, f"{split}annot"):
            (folder / name).mkdir(parents=True)
        for i in range(count):
            mask = np.zeros((30, 40), np.uint8)
            mask[10:, i:] = i
            pixels = np.random.default_rng(i).integers(0, 256, (30, 40, 3), np.uint8)
            pixels[..., 0] = 20 * mask
            Image.fromarray(pixels).save(folder / split / f"{i}.png")
            Image.fromarray(mask).save(folder / f"{split}annot" / f"{i}.png")
            lines.append(f"{split}/{i}.png {split}annot/{i}.png\n")
        (folder / f"{split}.txt").write_text("".join(lines))
    return folder


def settings(folder, **changes):
    plain = Data(
        name="camvid", root=str(folder), size=30, width=40, classes=11, mean=[0.0] * 3, std=[1.0] * 3
    )
    return replace(plain, **changes)


def read(folder, workers=0, **changes):
    return data.load(settings(folder, **changes), CPU, workers, "seg")


@pytest.fixture
def copy(camvid, tmp_path):
    """The folder again, to be damaged."""
    import shutil

    return shutil.copytree(camvid, tmp_path / "CamVid")


def first(split, augment=None, count=None, **arguments):
    return next(split.batches(count or len(split), augment=augment, **arguments))


def test_images_and_masks_are_those_of_the_files(camvid):
    found = read(camvid)
    assert [len(s) for s in (found.train, found.val, found.test)] == [12, 4, 4]
    assert len(found.classes) == 11
    x, y = first(found.train)
    assert x.shape == (12, 3, 30, 40) and y.shape == (12, 30, 40) and y.dtype == torch.int64
    assert x.is_contiguous(memory_format=torch.channels_last)
    stored = np.array(Image.open(camvid / "train" / "5.png"))
    assert torch.allclose(x[5].permute(1, 2, 0) * 255, torch.from_numpy(stored).float(), atol=1e-3)
    assert (y[5, 10:, 5:] == 5).all() and (y[5, :10] == 0).all()
    assert (y[11, 10:, 11:] == IGNORE).all()  # 11 is unlabelled


def test_the_set_is_found_in_a_folder_of_its_name(camvid):
    assert read(camvid.parent).checksum == read(camvid).checksum


def test_another_aspect_is_padded_in_the_mean_and_ignored(camvid):
    x, y = first(read(camvid, size=30, width=60, mean=[0.2, 0.4, 0.6]).train)
    assert x.shape[2:] == y.shape[1:] == (30, 60)
    assert (y[:, :, 40:] == IGNORE).all() and (y[0, :, :40] == 0).all()
    assert x[:, :, :, 40:].abs().max() < 0.01


def test_another_size_scales_both(camvid):
    _, y = first(read(camvid, size=15, width=20).train)
    assert y.shape == (12, 15, 20)
    assert (y[4, 5:, 2:] == 4).all() and (y[4, :5] == 0).all()


def test_streamed_and_resident_batches_are_equal(camvid):
    augment = Augment(crop="scaled", jitter=0.3)
    held, streamed = (read(camvid, options={"resident": kind}).train for kind in (True, False))
    assert type(held) is not type(streamed)
    for one, two in zip(
        held.batches(5, augment=augment, shuffle=True), streamed.batches(5, augment=augment, shuffle=True)
    ):
        assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])


def test_worker_processes_change_nothing(camvid):
    options = {"resident": False}
    for one, two in zip(
        read(camvid, options=options).val.batches(3), read(camvid, 2, options=options).val.batches(3)
    ):
        assert torch.equal(one[0], two[0]) and torch.equal(one[1].framed, two[1].framed)
        assert all(map(torch.equal, one[1].own, two[1].own)) and len(one[1]) == len(one[0])


def damage(kind, copy):
    """Damage the folder; what the error names."""
    image, mask = copy / "train" / "3.png", copy / "trainannot" / "3.png"
    if kind == "missing mask":
        mask.unlink()
    elif kind == "missing image":
        image.unlink()
    elif kind == "cut image":
        image.write_bytes(image.read_bytes()[:500])
    elif kind == "cut mask":
        mask.write_bytes(mask.read_bytes()[:60])
    elif kind == "value":
        Image.fromarray(np.full((30, 40), 37, np.uint8)).save(mask)
    elif kind == "wide value":
        Image.fromarray(np.full((30, 40), 300, np.uint16)).save(mask)
    elif kind == "colour":
        Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(mask)
    elif kind == "size":
        Image.fromarray(np.zeros((30, 41), np.uint8)).save(mask)
    elif kind == "line":
        (copy / "train.txt").write_text("train/0.png trainannot/0.png\ntrain/1.png\n")
    elif kind == "empty list":
        (copy / "val.txt").write_text("\n")
    elif kind == "no list":
        (copy / "val.txt").unlink()


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing mask", r"trainannot/3\.png is missing"),
        ("missing image", r"train/3\.png is missing"),
        ("cut image", r"train/3\.png cannot be read"),
        ("cut mask", r"trainannot/3\.png cannot be read"),
        ("value", r"trainannot/3\.png: value 37 is not a class; masks of this set hold 0-11, 255"),
        ("wide value", r"trainannot/3\.png: value 300 is not a class"),
        ("colour", r"trainannot/3\.png is a picture in color"),
        ("size", r"trainannot/3\.png is a mask of 41x30 px, but its image has 40x30"),
        ("line", r"train\.txt, line 2: an image and its mask"),
        ("empty list", r"val\.txt lists no image"),
        ("no list", r"val\.txt is missing"),
    ],
)
def test_a_damaged_folder_is_named(copy, kind, message, resident):
    damage(kind, copy)
    with pytest.raises(UserError, match=message):
        list(read(copy, options={"resident": resident}).train.batches(4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 12}, "data set 'camvid' has 11"),
        ({"options": {"subst": 0.5}}, "did you mean subset"),
        ({"options": {"subset": 1.5}}, "share of the images"),
        ({"options": {"subset": 0}}, "share of the images"),
        ({"options": {"subset": "half"}}, "share of the images"),
        ({"options": {"subset": 13}}, "it has 12"),
        ({"options": {"subset": 0.5}, "train": 3}, "set one of them"),
        ({"options": {"resident": 3}}, "true, false or null"),
        ({"val": 5}, "it has 4"),
    ],
)
def test_settings_that_cannot_be_meant(camvid, changes, message):
    with pytest.raises(UserError, match=message):
        read(camvid, **changes)


def test_a_folder_without_the_set_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(UserError, match=r"no train\.txt in .* or .*CamVid"):
        read(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        data.present(settings(tmp_path / "nowhere"))


def shown(split):
    masks = torch.cat([y for _, y in split.batches(16)])
    return [set(torch.unique(m).tolist()) - {IGNORE} for m in masks]


def test_a_subset_is_part_of_a_larger_one_and_the_other_splits_stay(camvid):
    sizes = (3, 0.5, 9, 1.0)
    found = [read(camvid, options={"subset": size}) for size in sizes]
    assert [len(f.train) for f in found] == [3, 6, 9, 12]
    assert {len(f.val) for f in found} == {len(f.test) for f in found} == {4}
    sets = [{x.numpy().tobytes() for x in first(f.train)[0]} for f in found]
    assert sets[0] < sets[1] < sets[2] < sets[3]
    assert len({f.checksum for f in found}) == 4


def test_a_subset_is_seeded(camvid):
    one, two, other = (read(camvid, options={"subset": 4}, split_seed=s).checksum for s in (0, 0, 1))
    assert one == two != other
    assert read(camvid, train=4).checksum == one  # the count alone says the same


def test_rare_classes_stay_in_a_subset():
    rng = np.random.default_rng(0)
    shown = rng.random((500, 6)) < [0.9, 0.5, 0.3, 0.05, 0.01, 0.006]
    shown[:, 0] |= ~shown.any(1)
    for seed in range(5):
        order = covering(shown, 500, seed)
        assert sorted(order) == list(range(500))
        assert shown[order[:6]].any(0).all()
        shares = shown[order[:100]].mean(0) / shown.mean(0)
        assert (shares > 0.8).all() and shares[0] < 1.2
    assert covering(shown, 3, 0).tolist() == covering(shown, 500, 0).tolist()[:3]


def test_images_that_show_no_class_come_last():
    shown = np.array([[False], [True], [False], [True]])
    assert set(covering(shown, 2, 0)) == {1, 3} and sorted(covering(shown, 4, 0)) == [0, 1, 2, 3]


@pytest.fixture(scope="module")
def scenes():
    return data.load(SMALL, CPU, task="seg")


def test_scenes_show_every_digit_and_background(scenes):
    assert scenes.classes == ["background", *map(str, range(10))]
    assert [len(s) for s in (scenes.train, scenes.val, scenes.test)] == [64, 32, 32]
    x, y = first(scenes.train)
    assert x.shape == (64, 3, 32, 32) and y.shape == (64, 32, 32)
    assert set(y.unique().tolist()) == set(range(11))
    counts = [len(s - {0}) for s in shown(scenes.train)]
    assert min(counts) >= 1 and max(counts) >= 3
    assert 0.6 < float((y == 0).float().mean()) < 0.95


def test_scenes_are_seeded_and_fewer_are_a_prefix_of_more(scenes):
    again = data.load(SMALL, CPU, task="seg")
    more = data.load(replace(SMALL, train=80), CPU, task="seg")
    other = data.load(replace(SMALL, split_seed=1), CPU, task="seg")
    assert again.checksum == scenes.checksum != other.checksum
    assert torch.equal(first(more.train, count=64)[1], first(scenes.train)[1])
    assert torch.equal(first(other.test)[1], first(scenes.test)[1])


def test_a_digit_differs_from_what_is_around_it(scenes):
    """Within a mask, colours vary less than between mask and background: it lies on its digit."""
    x, y = first(scenes.train)
    gaps = []
    for image, mask in zip(x, y):
        for kind in set(mask.unique().tolist()) - {0}:
            where = mask == kind
            if where.sum() > 20:
                gap = (image[:, where].mean(1) - image[:, mask == 0].mean(1)).norm()
                gaps.append(float(gap / image[:, where].std(1).mean()))
    assert np.median(gaps) > 2


def test_scenes_refuse_what_they_cannot_do():
    with pytest.raises(UserError, match="squares"):
        data.load(replace(SMALL, width=48), CPU, task="seg")
    with pytest.raises(UserError, match="set one of them"):
        data.load(replace(SMALL, options={"subset": 0.5}), CPU, task="seg")


@pytest.mark.parametrize(("task", "settings"), [("seg", {}), ("cls", {}), ("clip", {"frames": 2})])
def test_a_subset_of_scenes_is_their_beginning(task, settings):
    def images(**options):
        classes = {"seg": 11, "cls": 10, "clip": 8}[task]
        made = Data(name="scenes", size=16, classes=classes, val=20, test=20, **settings)
        split = data.load(replace(made, options=options), CPU, task=task).train
        return torch.cat([x for x, _ in split.batches(100)])

    share, number = images(subset=0.01), images(subset=50)
    assert len(share) == 40
    assert torch.equal(share, number[:40])


def test_classes_are_known_by_task():
    plain = replace(SMALL, classes=0, tasks={"seg": Served(classes=11), "cls": Served(classes=10)})
    assert data.classes(plain, "seg") == 11
    assert data.classes(plain, "cls") == 10


@pytest.mark.data
def test_camvid_itself(data_root):
    found = read(data_root / "camvid", 2, size=90, width=120)
    assert [len(s) for s in (found.train, found.val, found.test)] == [367, 101, 233]
    assert found.checksum == read(data_root / "camvid", 2, size=90, width=120).checksum
    masks = torch.cat([y for _, y in found.train.batches(64)])
    share = torch.bincount(masks.flatten(), minlength=256) / masks.numel()
    # shares of the pixels at 480x360, counted once by another program
    assert share[:3].tolist() == pytest.approx([0.1685, 0.2326, 0.0098], abs=2e-3)
    assert float(share[IGNORE]) == pytest.approx(0.0395, abs=2e-3)
