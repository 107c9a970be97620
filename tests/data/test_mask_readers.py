"""VOC with SBD, Cityscapes and ADE20K: small folders laid out as theirs, whole and incomplete."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from attnbench import data
from attnbench.config.schema import Data
from attnbench.data.pipeline.masks import IGNORE, Masks
from attnbench.errors import UserError

CPU = torch.device("cpu")
PART = {"partial": True}


def picture(path, seed, size=(24, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(path)


def mask(path, values, size=(24, 32), palette=False):
    """Columns of the values, from left to right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = np.repeat(values, -(-size[1] // len(values)))[: size[1]]
    image = Image.fromarray(np.broadcast_to(columns, size).astype(np.uint8).copy())
    if palette:
        image.putpalette([i * 7 % 256 for i in range(768)])
    image.save(path)


def voc(root, train=10, val=4):
    folder = root / "VOCdevkit" / "VOC2012"
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split, count in (("train", train), ("val", val)):
        names = [f"2007_{split}{i}" for i in range(count)]
        for i, name in enumerate(names):
            picture(folder / "JPEGImages" / f"{name}.jpg", i)
            mask(folder / "SegmentationClass" / f"{name}.png", [0, 255, i + 1, 20], palette=True)
        (lists / f"{split}.txt").write_text("\n".join(names) + "\n")
    return folder


def sbd(root):
    """Five images, of which VOC's training list has one and its validation list another."""
    from scipy.io import savemat

    folder = root / "SBD"
    names = {"train": ["2007_train0", "2007_val0", "2008_a"], "val": ["2008_b", "2008_c"]}
    (folder / "cls").mkdir(parents=True)
    for split, listed in names.items():
        (folder / f"{split}.txt").write_text("\n".join(listed) + "\n")
        for i, name in enumerate(listed):
            picture(folder / "img" / f"{name}.jpg", i)
            content = {"Segmentation": np.full((24, 32), 7 + i, np.uint8), "Boundaries": np.zeros(3)}
            savemat(folder / "cls" / f"{name}.mat", {"GTcls": content})
    return folder


def cityscapes(root):
    for split, cities in (("train", ("aachen", "ulm")), ("val", ("lindau",))):
        for city in cities:
            for i in range(5):
                name = f"{city}_00000{i}_000019"
                picture(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", i)
                values = [7, 0, 33, 11, 26, 4]  # road, unlabelled, bicycle, building, car, static
                mask(root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png", values)
                mask(root / "gtFine" / split / city / f"{name}_gtFine_instanceIds.png", [99])


def ade20k(root):
    for split, count in (("training", 10), ("validation", 3)):
        for i in range(count):
            name = f"ADE_{split}_{i:08d}"
            picture(root / "ADEChallengeData2016" / "images" / split / f"{name}.jpg", i)
            mask(root / "ADEChallengeData2016" / "annotations" / split / f"{name}.png", [0, 1, 150, i + 2])


SETS = {"voc": (voc, 21), "cityscapes": (cityscapes, 19), "ade20k": (ade20k, 150)}


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    found = {}
    for name, (make, _) in SETS.items():
        found[name] = tmp_path_factory.mktemp(name)
        make(found[name])
    return found


def settings(name, root, **changes):
    plain = Data(name=name, root=str(root), size=24, width=32, classes=SETS[name][1], options=PART)
    return replace(plain, **changes)


def read(name, root, **changes):
    return data.load(settings(name, root, **changes), CPU, 0, "seg")


def labels(split):
    batches = (y.framed if isinstance(y, Masks) else y for _, y in split.batches(4))
    return set(torch.cat(list(batches)).unique().tolist())


@pytest.mark.parametrize("name", SETS)
def test_official_validation_images_are_the_test_split(roots, name):
    found = read(name, roots[name])
    images = {"voc": (9, 1, 4), "cityscapes": (9, 1, 5), "ade20k": (9, 1, 3)}[name]
    assert tuple(len(s) for s in (found.train, found.val, found.test)) == images
    assert len(set(found.classes)) == SETS[name][1]
    assert found.classes == data.label_names(settings(name, roots[name]), "seg")
    other = read(name, roots[name], split_seed=3)
    assert other.checksum != found.checksum
    assert torch.equal(next(other.test.batches(8))[0], next(found.test.batches(8))[0])


@pytest.mark.parametrize("name", SETS)
def test_training_and_validation_images_are_disjoint_and_all(roots, name):
    found = read(name, roots[name], options={**PART, "val_share": 0.3})
    parts = [{x.numpy().tobytes() for x in next(s.batches(16))[0]} for s in (found.train, found.val)]
    assert len(parts[1]) == 3 and (name == "cityscapes" or not parts[0] & parts[1])


def test_values_become_classes(roots):
    assert labels(read("voc", roots["voc"]).test) == {0, IGNORE, 1, 2, 3, 4, 20}
    found = read("cityscapes", roots["cityscapes"])
    names = {found.classes[i] for i in labels(found.train) - {IGNORE}}
    assert names == {"road", "bicycle", "building", "car"} and IGNORE in labels(found.train)
    found = read("ade20k", roots["ade20k"])
    assert labels(found.test) == {IGNORE, 0, 149, 1, 2, 3}
    assert found.classes[0] == "wall" and found.classes[149] == "flag"


@pytest.mark.parametrize("name", SETS)
def test_an_incomplete_set_says_how_many_images_are_missing(roots, name):
    message = {"voc": "1464 training images, but 10", "cityscapes": "2975 train images, but 10"}
    with pytest.raises(UserError, match=message.get(name, "20210 training images, but 10")):
        read(name, roots[name], options={})


@pytest.mark.parametrize("name", SETS)
def test_an_empty_folder_says_what_is_looked_for(tmp_path, name):
    with pytest.raises(UserError, match=f"data set '{name}' is missing"):
        read(name, tmp_path)


def test_masks_of_sbd_join_but_for_the_test_images(tmp_path):
    voc(tmp_path)
    sbd(tmp_path)
    found = read("voc", tmp_path, options={**PART, "augmented": True})
    assert len(found.train) + len(found.val) == 13
    assert {7, 8, 9} & labels(found.train)
    assert read("voc", tmp_path).test.masks.equal(found.test.masks)


def test_sbd_must_be_there_and_whole(tmp_path):
    voc(tmp_path)
    with pytest.raises(UserError, match="SBD is missing"):
        read("voc", tmp_path, options={**PART, "augmented": True})
    folder = sbd(tmp_path)
    (folder / "cls" / "2008_b.mat").write_bytes(b"no mask")
    with pytest.raises(UserError, match=r"2008_b\.mat cannot be read as a mask of SBD"):
        read("voc", tmp_path, options={**PART, "augmented": True})
    (folder / "cls" / "2008_b.mat").unlink()
    with pytest.raises(UserError, match=r"2008_b\.mat is missing"):
        read("voc", tmp_path, options={**PART, "augmented": True})


def test_what_the_lists_ask_for_must_be_there(tmp_path):
    folder = voc(tmp_path)
    (folder / "SegmentationClass" / "2007_train3.png").unlink()
    with pytest.raises(UserError, match=r"2007_train3\.png is missing"):
        read("voc", tmp_path)
    (folder / "ImageSets" / "Segmentation" / "val.txt").write_text("")
    with pytest.raises(UserError, match=r"val\.txt lists no image"):
        read("voc", tmp_path)
    (folder / "ImageSets" / "Segmentation" / "train.txt").unlink()
    with pytest.raises(UserError, match=r"train\.txt is missing"):
        read("voc", tmp_path)


@pytest.mark.parametrize(("name", "value"), [("voc", 21), ("cityscapes", 34), ("ade20k", 151)])
def test_a_value_beyond_the_classes_is_named(tmp_path, name, value):
    SETS[name][0](tmp_path)
    found = sorted(p for p in tmp_path.rglob("*.png") if "labelIds" in p.name or name != "cityscapes")
    wrong = next(p for p in found if "val" in str(p.relative_to(tmp_path)))
    mask(wrong, [0, value])
    with pytest.raises(UserError, match=rf"{wrong.name}: value {value} is not a class"):
        read(name, tmp_path)


def test_images_of_other_sizes_are_fitted_and_padded(tmp_path):
    folder = voc(tmp_path)
    picture(folder / "JPEGImages" / "2007_val0.jpg", 0, (48, 24))
    mask(folder / "SegmentationClass" / "2007_val0.png", [5], (48, 24))
    x, masks = next(read("voc", tmp_path, size=32, width=32).test.batches(4))
    y = masks.framed
    assert masks.own[0].shape == (48, 24) and (masks.own[0] == 5).all()  # what is scored
    assert masks.inner[0].tolist() == [32, 16]
    assert (y[0, :, :16] == 5).all() and (y[0, :, 16:] == IGNORE).all()
    assert (y[1, 24:] == IGNORE).all() and (y[1, :24] != IGNORE).any()
    assert x[0, :, :, 16:].abs().max() < 0.02
