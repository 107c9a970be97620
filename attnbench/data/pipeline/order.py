"""Which images make up which batch, and what is drawn for each: functions of (seed, epoch, step) alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from attnbench.config.recipe import Augment

MASK = 2**64 - 1
TRIES = 10  # boxes drawn for a resized crop before the middle is taken, or again for one of a single class


def generator(*key: int) -> np.random.Generator:
    """Random numbers that depend on the key alone, the same on every machine."""
    return np.random.default_rng([k & MASK for k in key])


def stratified(labels: Int[np.ndarray, " n"], *key: int) -> Int[np.ndarray, " n"]:
    """A random order of the images in which every beginning holds the classes in their shares."""
    rng = generator(*key)
    position = np.empty(len(labels))
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        position[rows] = (np.arange(len(rows)) + rng.random(len(rows))) / len(rows)
    return np.argsort(position, kind="stable")


class Draws(NamedTuple):
    """Uniform random numbers in [0, 1) for each image of a batch."""

    uniform: Float[np.ndarray, "b 5"]  # offset down, offset right, flip, hole down, hole right
    boxes: Float[np.ndarray, "b t 4"]  # area, aspect, down, right of each try of a crop that is drawn again
    view: Float[np.ndarray, "b 5"]  # scale of a scaled crop; brightness, contrast, saturation, hue

    def of(self, row: int) -> "Draws":
        """What is drawn for one image."""
        return Draws(*(part[row : row + 1] for part in self))


class Batch(NamedTuple):
    """One step of a pass: this rank's images, by their index in the split, and what is drawn for them."""

    rows: Int[np.ndarray, " b"]
    draws: Draws | None  # None where nothing is augmented


@dataclass(frozen=True)
class Plan:
    """One pass over a split of `count` images; `plan[step]` is the same wherever the pass began.

    A global batch has `batch_size` images; of them rank r of `world` gets rows r, r + world, ...,
    none at all where the last batch has too few.
    """

    count: int
    batch_size: int
    seed: int = 0
    epoch: int = 0
    augment: Augment | None = None
    shuffle: bool = False
    drop_last: bool = False
    start: int = 0
    rank: int = 0
    world: int = 1

    def __len__(self) -> int:
        """Steps of the whole pass, those before `start` included."""
        return self.count // self.batch_size if self.drop_last else -(-self.count // self.batch_size)

    @property
    def share(self) -> int:
        """The most images of a batch that this rank gets."""
        return -(-min(self.batch_size, self.count) // self.world)

    def __iter__(self) -> Iterator[Batch]:
        """The steps from `start` on."""
        return (self[step] for step in range(self.start, len(self)))

    @cached_property
    def order(self) -> Int[np.ndarray, " n"]:
        rng = generator(self.seed, self.epoch)
        return rng.permutation(self.count) if self.shuffle else np.arange(self.count)

    def __getitem__(self, step: int) -> Batch:
        rows = self.order[step * self.batch_size : (step + 1) * self.batch_size]
        mine = slice(self.rank, None, self.world)
        if self.augment is None:
            return Batch(rows[mine], None)
        rng = generator(self.seed, self.epoch, step)
        uniform = rng.random((len(rows), 5))[mine]
        again = self.augment.crop == "scaled" and self.augment.max_class_share < 1
        tries = TRIES if again or self.augment.crop == "resized" else 0
        boxes = rng.random((len(rows), tries, 4))[mine]
        return Batch(rows[mine], Draws(uniform, boxes, rng.random((len(rows), 5))[mine]))
