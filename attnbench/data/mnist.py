"""MNIST from its four files, as it is or translated over clutter as in the papers on glimpses.

Mnih et al., "Recurrent Models of Visual Attention", NIPS 2014, section 4.1: a digit anywhere on a larger
black canvas, and among it pieces of 8x8 px of other digits.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8

from attnbench.config import Data
from attnbench.data import options, require, root
from attnbench.data.order import generator
from attnbench.data.split import Dataset, choose, hold_out, resident
from attnbench.errors import UserError

SIDE, PIECE = 28, 8  # px
TEST_SEED = 0
Images = UInt8[np.ndarray, "n h w"]


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """The set on the device; 10 % of the training images (`options.val_share`) are held out to validate.

    `options.translated` puts each digit on a canvas of that side, px, `options.clutter` as many pieces of
    other digits beside it. Raises `UserError` where the set is missing or damaged.
    """
    require(data, classes=10, channels=1)
    chosen = options(data, translated=0, clutter=0, val_share=0.1)
    _check(chosen["translated"], chosen["clutter"])
    images, labels = _read(data, train=True)
    test_images, test_labels = _read(data, train=False)
    train, val = hold_out(labels, data, chosen["val_share"])
    test = choose(test_labels, data.test, "test", TEST_SEED)
    found = {
        "train": (images[train], labels[train]),
        "val": (images[val], labels[val]),
        "test": (test_images[test], test_labels[test]),
    }
    parts = {}
    for code, (split, (pictures, names)) in enumerate(found.items()):
        if chosen["translated"]:
            rng = generator(0 if split == "test" else data.split_seed, code)
            pictures = translated(pictures, chosen["translated"], chosen["clutter"], rng)
        parts[split] = pictures[..., None], names
    return resident([str(digit) for digit in range(10)], parts, data, device)


def _check(side: int, clutter: int) -> None:
    if side and side < SIDE:
        raise UserError(f"data.options.translated={side}: a canvas of at least {SIDE} px, or 0 for none")
    if clutter < 0 or (clutter and not side):
        raise UserError(
            f"data.options.clutter={clutter}: pieces (0 or more) on a canvas, so set translated too"
        )


def _read(data: Data, train: bool) -> tuple[Images, Int[np.ndarray, " n"]]:
    """The images and labels of one half of the set, by torchvision."""
    from torchvision.datasets import MNIST

    folder = _folder(data)
    try:
        found = MNIST(folder, train=train, download=data.download)
    except Exception as error:  # torchvision checks damaged files by assertions and conversions of all kinds
        raise UserError(
            f"data set 'mnist' in {folder} is missing or damaged ({type(error).__name__}: {error}). "
            "`python -m attnbench data=mnist data.root=FOLDER data.download=true` fetches it"
        ) from error
    images, labels = found.data.numpy(), found.targets.numpy()
    if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE) or len(images) != len(labels):
        raise UserError(
            f"data set 'mnist' in {folder}: {images.shape} images and {labels.shape} labels do not fit"
        )
    return images, labels


def _folder(data: Data) -> Path:
    """The folder that holds MNIST/: `data.root`, its parent, or mnist in it."""
    given = root(data)
    places = (given, given.parent, given / "mnist", given / "mnist_small")
    return next((p for p in places if (p / "MNIST" / "raw").is_dir()), given)


def translated(
    digits: Images, side: int, clutter: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "n side side"]:
    """Each digit somewhere on a black canvas, whole; so are pieces of others. The brighter pixel wins."""
    canvas = np.zeros((len(digits), side, side), np.uint8)
    _paste(canvas, digits, rng)
    for _ in range(clutter):
        other = digits[rng.integers(len(digits), size=len(digits))]
        first = rng.integers(0, SIDE - PIECE + 1, (2, len(digits)))
        _paste(canvas, _windows(other, first), rng)
    return canvas


def _windows(images: Images, first: Int[np.ndarray, "2 n"]) -> Images:
    """A piece of each image."""
    within = np.arange(PIECE)
    row = np.arange(len(images))[:, None, None]
    return images[row, first[0][:, None, None] + within[:, None], first[1][:, None, None] + within]


def _paste(canvas: Images, pieces: Images, rng: np.random.Generator) -> None:
    """Put each piece somewhere on its canvas, in place."""
    side, length = canvas.shape[1], pieces.shape[1]
    first = rng.integers(0, side - length + 1, (2, len(pieces)))
    within = np.arange(length)
    row = np.arange(len(pieces))[:, None, None]
    at = row, first[0][:, None, None] + within[:, None], first[1][:, None, None] + within
    canvas[at] = np.maximum(canvas[at], pieces)
