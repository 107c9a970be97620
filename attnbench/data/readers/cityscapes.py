"""Cityscapes (Cordts et al. 2016): streets of 50 cities, 19 classes, in the folders of torchvision."""

from pathlib import Path

import numpy as np
import torch

from attnbench.config.schema import Data
from attnbench.data import options, require, root
from attnbench.data.pipeline import listing
from attnbench.data.pipeline.masked import OPTIONS, dataset, expect, hold_out
from attnbench.data.pipeline.masks import IGNORE, Pairs, table
from attnbench.data.pipeline.split import Dataset
from attnbench.errors import UserError

NAMES = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
    *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
COUNTS = {"train": 2975, "val": 500}
IMAGE, MASK = "_leftImg8bit.png", "_gtFine_labelIds.png"


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """The official val images are the test split; `val_share` of those of train is held out to validate.

    Raises `UserError` where folders or files are missing.
    """
    require(data, classes=len(NAMES), channels=3)
    chosen = options(data, **OPTIONS, val_share=0.1, partial=False)
    folder, meaning = _folder(data), _meaning()
    every = {split: _pairs(folder, split, meaning) for split in COUNTS}
    for split, count in COUNTS.items():
        expect(data, len(every[split]), count, split, chosen["partial"])
    kept, held = hold_out(len(every["train"]), data, chosen["val_share"])
    parts = {"train": every["train"][kept], "val": every["train"][held], "test": every["val"]}
    return dataset(list(NAMES), parts, data, chosen, device, workers)


def _meaning() -> np.ndarray:
    """Of the 34 label ids, by torchvision's table of the official script."""
    from torchvision.datasets import Cityscapes

    ids = {each.id: each.train_id for each in Cityscapes.classes if each.id >= 0}
    return table({number: train if 0 <= train < len(NAMES) else IGNORE for number, train in ids.items()})


def _folder(data: Data) -> Path:
    given = root(data)
    for place in (given, given / "cityscapes"):
        if (place / "leftImg8bit").is_dir() and (place / "gtFine").is_dir():
            return place
    raise UserError(
        f"data set '{data.name}' is missing: no leftImg8bit and gtFine in {given}. It needs an account at "
        "cityscapes-dataset.com; unpack leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip"
    )


def _pairs(folder: Path, split: str, meaning: np.ndarray) -> Pairs:
    """The images of a split, by city, and their masks."""
    place = folder / "leftImg8bit" / split
    images = [place / name for name in listing.tree(place, (IMAGE.lower(),))]
    if not images:
        raise UserError(f"{folder / 'leftImg8bit' / split} has no CITY/*{IMAGE}")
    masks = [
        folder / "gtFine" / split / image.parent.name / (image.name.removesuffix(IMAGE) + MASK)
        for image in images
    ]
    return Pairs(np.array([str(i) for i in images]), np.array([str(m) for m in masks]), meaning)
