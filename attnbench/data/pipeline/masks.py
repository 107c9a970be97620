"""Images with masks in folders: which there are, how a pair is read, and which of them a subset keeps."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image
from torch import Tensor

from attnbench.config.schema import Data
from attnbench.data import kept
from attnbench.data.pipeline.examine import Examination, content, mask, picture
from attnbench.data.pipeline.images import decode
from attnbench.data.pipeline.order import generator
from attnbench.errors import UserError

IGNORE = 255  # of pixels that count nowhere
UNKNOWN = 254  # in a table: a value that no mask may have
THREADS = 4  # that read masks ahead of each other


class Frame(NamedTuple):
    """What every image of a set is fitted into: scaled with its aspect kept, then padded below and right."""

    height: int
    width: int
    fill: tuple[int, ...]  # colour of the padding

    @classmethod
    def of(cls, data: Data) -> "Frame":
        """The frame that the settings ask for, padded in the mean colour."""
        return cls(*data.image[1:], tuple(round(255 * mean) for mean in data.mean))

    def inner(self, height: int, width: int) -> tuple[int, int]:
        """The height and width that an image of that size has in the frame."""
        scale = min(self.height / height, self.width / width)
        return max(round(height * scale), 1), max(round(width * scale), 1)


class Pair(NamedTuple):
    """An image and its mask within a frame, the (height, width) without padding, the mask at its own size."""

    image: UInt8[np.ndarray, "h w c"]
    mask: UInt8[np.ndarray, "h w"]
    inner: tuple[int, int]
    own: UInt8[np.ndarray, "y x"]


@dataclass(frozen=True)
class Masks:
    """The masks of a batch that is evaluated: within the frame, and each at its own size."""

    framed: Int[Tensor, "b h w"]
    inner: Int[np.ndarray, "b 2"]  # height and width in the frame without padding
    own: Sequence[UInt8[Tensor, "y x"]]

    def __len__(self) -> int:
        return len(self.own)


@dataclass(frozen=True)
class Pairs:
    """Images and their masks, by the names of their files."""

    images: np.ndarray  # as text: one array, so that worker processes share it
    masks: np.ndarray
    table: UInt8[np.ndarray, " 256"]  # what a mask's values mean: a class, IGNORE or UNKNOWN
    # Of the contents of image and mask, once they were examined.
    digests: UInt8[np.ndarray, "n 32"] = field(default_factory=lambda: np.zeros((0, 32), np.uint8))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: np.ndarray) -> "Pairs":
        digests = self.digests[rows] if len(self.digests) else self.digests
        return replace(self, images=self.images[rows], masks=self.masks[rows], digests=digests)

    def examined(self, examine: Examination) -> "Pairs":
        """With digests of the contents; what is wrong with any file is kept for `examine.finish`."""
        images = examine([Path(name) for name in self.images], picture)
        masks = examine([Path(name) for name in self.masks], mask_or_matrix)
        known = images.sizes.any(1) & masks.sizes.any(1)
        for row in np.flatnonzero(known & (images.sizes != masks.sizes).any(1)):
            (high, wide), (tall, broad) = images.sizes[row], masks.sizes[row]
            fault = f"is a mask of {broad}x{tall} px, but its image has {wide}x{high}"
            examine.faults.append((Path(self.masks[row]), fault))
        return replace(self, digests=np.concatenate([images.digests, masks.digests], 1))

    def read(self, row: int, frame: Frame) -> Pair:
        """A pair in a frame; raises `UserError` naming a file that is damaged or no mask of its image."""
        image = decode(Path(self.images[row]), len(frame.fill))
        mask = self.labels(row)
        if mask.shape != (image.height, image.width):
            raise UserError(
                f"{self.masks[row]}: a mask of {mask.shape[1]}x{mask.shape[0]} px, but its image has "
                f"{image.width}x{image.height}"
            )
        high, wide = frame.inner(*mask.shape)
        pixels = np.full((frame.height, frame.width, len(frame.fill)), frame.fill, np.uint8)
        scaled = image.resize((wide, high), Image.Resampling.BILINEAR)
        pixels[:high, :wide] = np.asarray(scaled).reshape(high, wide, -1)
        labels = np.full((frame.height, frame.width), IGNORE, np.uint8)
        nearest = Image.fromarray(mask).resize((wide, high), Image.Resampling.NEAREST)
        labels[:high, :wide] = np.asarray(nearest)
        return Pair(pixels, labels, (high, wide), mask)

    def labels(self, row: int) -> UInt8[np.ndarray, "h w"]:
        """A mask's classes at its own size."""
        name = str(self.masks[row])
        values = _values(name)
        if values.ndim != 2:
            raise UserError(f"{name} is a coloured picture; a mask holds one class number a pixel")
        labels = self.table[np.minimum(values, 255)]
        wrong = (labels == UNKNOWN) | (values > 255)
        if wrong.any():
            known = ", ".join(_ranges(np.flatnonzero(self.table != UNKNOWN)))
            raise UserError(
                f"{name}: value {values[wrong][0]} is not a class; masks of this set hold {known}"
            )
        return labels


def mask_or_matrix(path: Path, end: bytes) -> tuple[int, int]:
    """A mask's height and width, not looked for in files of Matlab."""
    return (content if path.suffix == ".mat" else mask)(path, end)


def _values(name: str) -> np.ndarray:
    """The numbers that a mask's file holds."""
    if name.endswith(".mat"):
        return _matlab(name)
    try:
        with Image.open(name) as image:
            values = np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{name} cannot be read as a mask ({error}): replace it") from error
    return values.astype(np.uint8) if values.dtype == bool else values


def _matlab(name: str) -> np.ndarray:
    """The segmentation of one of SBD's files."""
    from scipy.io import loadmat

    try:
        return loadmat(name)["GTcls"][0, 0]["Segmentation"]
    except Exception as error:  # scipy's reader fails in many ways on a damaged file
        raise UserError(f"{name} cannot be read as a mask of SBD ({error}): replace it") from error


def _ranges(values: Sequence[int] | np.ndarray) -> list[str]:
    """Numbers as text, those that follow each other as ranges."""
    runs = np.split(values, np.flatnonzero(np.diff(values) > 1) + 1)
    return [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]


def table(classes: dict[int, int]) -> UInt8[np.ndarray, " 256"]:
    """What each value of a mask means, from value -> class or IGNORE; all others are errors."""
    meaning = np.full(256, UNKNOWN, np.uint8)
    for value, label in classes.items():
        meaning[value] = label
    return meaning


def presence(pairs: Pairs, classes: int) -> Bool[np.ndarray, "n k"]:
    """Which classes each mask shows."""

    def shown(row: int) -> np.ndarray:
        return np.bincount(pairs.labels(row).ravel(), minlength=256)[:classes] > 0

    with ThreadPoolExecutor(THREADS) as readers:
        return np.array(list(readers.map(shown, range(len(pairs))))).reshape(-1, classes)


def covering(shown: Bool[np.ndarray, "n k"], count: int, *key: int) -> Int[np.ndarray, " count"]:
    """`count` random images that show the classes in their shares; a smaller choice begins a larger one.

    The next image is always a random one of those that show the class of which the smallest share is chosen
    so far, the rarest first; so no class is missing where there is room for all.
    """
    rng = generator(*key)
    luck, tie = rng.random(len(shown)), 1e-12 * rng.random(shown.shape[1])
    total, done = shown.sum(0), np.zeros(shown.shape[1])
    order: list[int] = []
    while len(order) < count:
        share = np.where(done < total, done / np.maximum(total, 1) + 1e-9 * total + tie, np.inf)
        kind = share.argmin()
        fit = shown[:, kind] if np.isfinite(share[kind]) else np.ones(len(shown), bool)
        order.append(int(np.where(fit, luck, 2).argmin()))
        luck[order[-1]] = 3  # taken
        done += shown[order[-1]]
    return np.array(order, int)


def keep(
    pairs: Pairs, rows: Int[np.ndarray, " n"], classes: int, wanted: Any, split: str, seed: int
) -> Int[np.ndarray, " m"]:
    """Those of the rows that a share (a float up to 1) or a number (an integer) of them keeps; None: all.

    A smaller choice is part of a larger one; classes stay in their shares of images.
    """
    count = kept(wanted, len(rows), split)
    if count == len(rows):
        return rows
    return np.sort(rows[covering(presence(pairs[rows], classes), count, seed)])
