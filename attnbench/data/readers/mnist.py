"""MNIST from its four files, as it is or translated over clutter as in the papers on glimpses.

Mnih et al., "Recurrent Models of Visual Attention", NIPS 2014, section 4.1: a digit anywhere on a larger
black canvas, and among it pieces of 8x8 px of other digits. A training
digit lies elsewhere each time that it is seen.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from attnbench.config.schema import Data
from attnbench.data import options, require, root
from attnbench.data.pipeline.augment import Pixels
from attnbench.data.pipeline.order import Plan, generator
from attnbench.data.pipeline.split import Dataset, Resident, Split, choose, gathered, hold_out
from attnbench.errors import UserError

SIDE, PIECE = 28, 8  # px
TEST_SEED = 0
CANVAS = 1  # of a step's random numbers, those for places
Images = UInt8[np.ndarray, "n h w"]


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """The set on the device; 10 % of the training images (`options.val_share`) are held out to validate.

    `options.translated` puts each digit on a canvas of that side, px, `options.clutter` as many pieces of
    other digits beside it: training digits anew for each batch, the others once for all. Raises `UserError`
    where the set is missing or damaged.
    """
    require(data, classes=10, channels=1)
    chosen = options(data, translated=0, clutter=0, val_share=0.1)
    side, clutter = chosen["translated"], chosen["clutter"]
    _check(side, clutter)
    images, labels = _read(data, train=True)
    test_images, test_labels = _read(data, train=False)
    train, val = hold_out(labels, data, chosen["val_share"])
    test = choose(test_labels, data.test, "test", TEST_SEED)
    found = {
        "train": (images[train], labels[train]),
        "val": (images[val], labels[val]),
        "test": (test_images[test], test_labels[test]),
    }
    splits, arrays, pixels = dict[str, Split](), list[np.ndarray](), Pixels(data, device)
    for code, (split, (pictures, names)) in enumerate(found.items()):
        if side and split == "train":
            splits[split] = Moving(pictures, names, pixels, device, side, clutter)
        else:
            rng = generator(0 if split == "test" else data.split_seed, code)
            pictures = translated(pictures, side, clutter, rng) if side else pictures
            splits[split] = Resident(pictures[..., None], names, pixels, device)
        arrays += [pictures, names]
    return gathered([str(digit) for digit in range(10)], splits, arrays)


class Moving(Split):
    """Digits that are laid on canvases for each batch, as the seed, the epoch and the step say."""

    def __init__(
        self,
        digits: Images,
        targets: Int[np.ndarray, " n"],
        pixels: Pixels,
        device: torch.device,
        side: int,
        clutter: int,
    ) -> None:
        super().__init__(targets, pixels, device)
        self.digits, self.side, self.clutter = digits, side, clutter

    def read(self, plan: Plan) -> Iterator[tuple[Tensor, Tensor]]:
        for step in range(plan.start, len(plan)):
            whole = plan.order[step * plan.batch_size : (step + 1) * plan.batch_size]
            rng = generator(plan.seed, plan.epoch, step, CANVAS)
            canvas = translated(self.digits[whole], self.side, self.clutter, rng, self.digits)
            images = torch.from_numpy(canvas[plan.rank :: plan.world, ..., None]).to(self.device)
            batch = plan[step]
            where = torch.from_numpy(batch.rows).to(self.device)
            yield self.seen(images, batch, plan.augment), self.targets[where]


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
    digits: Images, side: int, clutter: int, rng: np.random.Generator, others: Images | None = None
) -> UInt8[np.ndarray, "n side side"]:
    """Each digit somewhere on a black canvas, whole; so are pieces of `others`, or of these digits.

    The brighter pixel wins.
    """
    pool = digits if others is None else others
    canvas = np.zeros((len(digits), side, side), np.uint8)
    _paste(canvas, digits, rng)
    for _ in range(clutter):
        other = pool[rng.integers(len(pool), size=len(digits))]
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
