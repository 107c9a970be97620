"""SVHN, format 1: house numbers to be read digit by digit, each cut out by the box around all its digits.

Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", 2011. Folders train/ and
test/ hold 1.png ... and digitStruct.mat, which is a file of HDF5. Goodfellow et al. 2014, section 5.1: the
box grown by 30 %, resized to one size.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8

from attnbench.config.schema import Data
from attnbench.data import options, require, root
from attnbench.data.pipeline.examine import Examination, picture
from attnbench.data.pipeline.images import cut, decode
from attnbench.data.pipeline.split import Dataset, choose, hold_out, resident
from attnbench.data.scenes.sequence import END, NAMES, targets_of
from attnbench.errors import UserError

GROWN = 0.3  # of the box's height and width
TEST_SEED = 0


class Numbers(NamedTuple):
    """House numbers: image files, digits from left to right, and the box around each one's digits."""

    files: list[Path]
    digits: list[list[int]]
    boxes: Float[np.ndarray, "n 4"]  # top, left, height, width; px


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """Images on the device; numbers longer than `data.length` are left out, as in the papers (5).

    10 % of the training images (`options.val_share`) are held out. Raises `UserError` where the set is
    missing or damaged, or h5py is, which reads its lists.
    """
    require(data, classes=len(NAMES), channels=3)
    share = options(data, val_share=0.1)["val_share"]
    if data.width not in (None, data.size):
        raise UserError(f"data.width={data.width}: house numbers are resized to squares; leave it out")
    folder, length = root(data), data.length or 1
    training, testing = (_read(folder, part, length) for part in ("train", "test"))
    examine = Examination(data.name)
    examine([*training.files, *testing.files], picture)
    examine.finish()
    lengths, test_lengths = (np.array([len(d) for d in part.digits]) for part in (training, testing))
    train, val = hold_out(lengths, data, share)
    test = choose(test_lengths, data.test, "test", TEST_SEED)
    parts = {
        "train": _images(training, train, data.size, length),
        "val": _images(training, val, data.size, length),
        "test": _images(testing, test, data.size, length),
    }
    return resident(list(NAMES), parts, data, device)


def _read(folder: Path, part: str, length: int) -> Numbers:
    """What digitStruct.mat says of a part's images, of those with at most `length` digits."""
    file = folder / part / "digitStruct.mat"
    if not file.is_file():
        raise UserError(
            f"data set 'svhn' is missing: no {file}. Unpack train.tar.gz and test.tar.gz of format 1, from "
            "ufldl.stanford.edu/housenumbers, into that folder"
        )
    h5py = _reader()
    files, digits, boxes = [], [], []
    try:
        with h5py.File(file) as content:
            for name, bounds in zip(content["digitStruct/name"][:, 0], content["digitStruct/bbox"][:, 0]):
                found = {key: _numbers(content, content[bounds][key]) for key in content[bounds]}
                if len(found["label"]) > length:
                    continue
                order = np.argsort(found["left"], kind="stable")
                files.append(folder / part / "".join(map(chr, content[name][:, 0])))
                digits.append([int(found["label"][i]) % 10 for i in order])  # the set writes 10 for 0
                boxes.append(around(found))
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{file} is damaged ({type(error).__name__}: {error}): unpack it again") from error
    return Numbers(files, digits, np.array(boxes).reshape(-1, 4))


def _reader() -> Any:
    try:
        import h5py
    except ImportError:
        raise UserError("data set 'svhn' needs h5py to read digitStruct.mat: pip install h5py") from None
    return h5py


def _numbers(content: Any, held: Any) -> Float[np.ndarray, " n"]:
    """One number, or references to several."""
    if held.dtype.kind == "f":
        return np.array(held[:, 0])
    return np.array([content[held[i, 0]][0, 0] for i in range(len(held))])


def around(found: dict[str, np.ndarray]) -> tuple[float, float, float, float]:
    """Top, left, height and width of the box around all digits, grown."""
    top, left = found["top"].min(), found["left"].min()
    height = (found["top"] + found["height"]).max() - top
    width = (found["left"] + found["width"]).max() - left
    return top - GROWN / 2 * height, left - GROWN / 2 * width, (1 + GROWN) * height, (1 + GROWN) * width


def _images(
    numbers: Numbers, rows: np.ndarray, size: int, length: int
) -> tuple[UInt8[np.ndarray, "n s s 3"], np.ndarray]:
    images = np.empty((len(rows), size, size, 3), np.uint8)
    labels = np.zeros((len(rows), length), np.int64)
    for place, row in enumerate(rows):
        image = decode(numbers.files[row], 3)
        top, left, height, width = numbers.boxes[row]
        inside = max(top, 0.0), max(left, 0.0)
        box = (
            *inside,
            min(top + height, image.height) - inside[0],
            min(left + width, image.width) - inside[1],
        )
        images[place] = cut(image, box, size)
        labels[place, : len(numbers.digits[row])] = numbers.digits[row]
    counts = np.array([len(numbers.digits[row]) for row in rows])
    return images, targets_of(labels, counts, END)
