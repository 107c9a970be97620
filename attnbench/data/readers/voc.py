"""Pascal VOC 2012 (Everingham et al. 2015), laid out by torchvision; SBD's masks (Hariharan et al. 2011)."""

from pathlib import Path

import numpy as np
import torch

from attnbench.config.schema import Data
from attnbench.data import options, require, root
from attnbench.data.pipeline.masked import OPTIONS, dataset, expect, hold_out
from attnbench.data.pipeline.masks import IGNORE, Pairs, table
from attnbench.data.pipeline.split import Dataset
from attnbench.errors import UserError

NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train"),
    "tvmonitor",
)
FOLDER = Path("VOCdevkit", "VOC2012")
SBD = (Path("SBD"), Path("sbd"), Path("benchmark_RELEASE", "dataset"))  # where its masks may lie
COUNTS = {"train": 1464, "val": 1449, "augmented": 10582}


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """The official val images are the test split; `val_share` of those of train is held out to validate.

    With `augmented`, SBD's masks of all images that are not in val join the training ones. Raises `UserError`
    where the set, or a file that its lists name, is missing.
    """
    require(data, classes=len(NAMES), channels=3)
    chosen = options(data, **OPTIONS, val_share=0.1, augmented=False, partial=False)
    folder = _folder(data)
    meaning = table({**{i: i for i in range(len(NAMES))}, IGNORE: IGNORE})
    train = _pairs(folder, _list(folder / "ImageSets/Segmentation/train.txt"))
    test = _pairs(folder, _list(folder / "ImageSets/Segmentation/val.txt"))
    expect(data, len(train[0]), COUNTS["train"], "training", chosen["partial"])
    expect(data, len(test[0]), COUNTS["val"], "validation", chosen["partial"])
    if chosen["augmented"]:
        train = _augment(data, train, test)
        expect(data, len(train[0]), COUNTS["augmented"], "training (with SBD's)", chosen["partial"])
    pairs = Pairs(np.array(train[0]), np.array(train[1]), meaning)
    kept, held = hold_out(len(pairs), data, chosen["val_share"])
    parts = {"train": pairs[kept], "val": pairs[held]}
    parts["test"] = Pairs(np.array(test[0]), np.array(test[1]), meaning)
    return dataset(list(NAMES), parts, data, chosen, device, workers)


def _folder(data: Data) -> Path:
    """The folder of the set: `data.root` or the usual one in it; fetched where that is allowed."""
    given = root(data)
    places = [given, given / "VOC2012", given / FOLDER]
    found = next((place for place in places if (place / "ImageSets" / "Segmentation").is_dir()), None)
    if found is None and data.download:
        return _download(data, given)
    if found is None:
        raise UserError(
            f"data set '{data.name}' is missing: no ImageSets/Segmentation in {given} or {given / FOLDER}. "
            "data.download=true lets torchvision fetch it (2 GB)"
        )
    return found


def _download(data: Data, folder: Path) -> Path:
    from torchvision.datasets import VOCSegmentation

    try:
        VOCSegmentation(folder, year="2012", image_set="trainval", download=True)
    except (OSError, RuntimeError) as error:
        raise UserError(f"data set '{data.name}' could not be fetched: {error}") from error
    return folder / FOLDER


def _list(file: Path) -> list[str]:
    if not file.is_file():
        raise UserError(f"{file} is missing: it lists the images of a split")
    names = file.read_text().split()
    if not names:
        raise UserError(f"{file} lists no image")
    return names


def _pairs(folder: Path, names: list[str]) -> tuple[list[str], list[str]]:
    """Images and masks by their names in the lists."""
    images = [str(folder / "JPEGImages" / f"{name}.jpg") for name in names]
    return images, [str(folder / "SegmentationClass" / f"{name}.png") for name in names]


def _augment(
    data: Data, train: tuple[list[str], list[str]], test: tuple[list[str], list[str]]
) -> tuple[list[str], list[str]]:
    """VOC's training images, then those of SBD that are neither among them nor among the test images."""
    given = root(data)
    found = next((given / place for place in SBD if (given / place / "cls").is_dir()), None)
    if found is None:
        raise UserError(
            f"data.options.augmented=true: SBD is missing, no folder cls in {given / SBD[0]}; "
            "torchvision.datasets.SBDataset(FOLDER, download=True) fetches it"
        )
    known = {Path(image).stem for image in (*train[0], *test[0])}
    names = [n for part in ("train", "val") for n in _list(found / f"{part}.txt") if n not in known]
    images = [str(found / "img" / f"{name}.jpg") for name in names]
    masks = [str(found / "cls" / f"{name}.mat") for name in names]
    return train[0] + images, train[1] + masks
