"""What the probes share: digits and cues in a row, further apart than a network without attention sees.

A probe asks for something that no single window of the image holds. The logits of `patch8` are sums over
windows of VIEW px, so its best accuracy, and that of every other network with such a view, is a number that
can be computed (`data.bound`): what goes beyond it has combined places that lie apart.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from attnbench.config.schema import Data
from attnbench.data import options, require
from attnbench.data.pipeline.order import generator
from attnbench.data.pipeline.split import Dataset, resident
from attnbench.data.scenes.digits import Digits, digits
from attnbench.errors import UserError

VIEW = 13  # px that one place of patch8's last map depends on; a test measures it
SHOWN = (0, 1, 4, 7)  # the digits of the probes
SIDE = 8  # of a digit, px: as it was written
COUNTS = {"train": 3000, "val": 200, "test": 1000}
DARK, NOISE = 0.1, 0.05  # of the background: its level and the standard deviation of its noise
HUES = np.array(  # as far from each other as eight colors of full saturation can be
    [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 0.5, 0), (0.5, 0, 1)], np.float32
)
WHITE = np.ones(3, np.float32)


class Element(NamedTuple):
    """Something in a row of the image: its width, and the gap that it keeps to the one before it, px."""

    width: int
    gap: int = 0


class Drawn(NamedTuple):
    """Images of a split before they are bytes, and what they are to be called."""

    images: Float[np.ndarray, "n h w 3"]
    labels: Int[np.ndarray, " n"]


Paint = Callable[[np.random.Generator, Digits, int, Data, dict[str, Any]], Drawn]


def build(data: Data, device: torch.device, classes: Sequence[str], paint: Paint, **known: Any) -> Dataset:
    """The splits that `paint` draws, on the device; `known` are the probe's options and their defaults."""
    require(data, classes=len(classes), channels=3)
    chosen, parts = options(data, **known), {}
    for code, (split, usual) in enumerate(COUNTS.items()):
        count = getattr(data, split) or usual
        seed = 0 if split == "test" else data.split_seed
        rng = generator(seed, code, 2)
        parts[split] = pixels(paint(rng, shown(split, seed), count, data, chosen), rng)
    return resident(list(classes), parts, data, device)


@cache
def shown(split: str, seed: int) -> Digits:
    """The digits of a split that probes show, labels counted from 0; the splits share none."""
    every = digits(split, seed)
    rows = np.isin(every.labels, SHOWN)
    return Digits(every.strokes[rows], np.searchsorted(SHOWN, every.labels[rows]))


def far(data: Data, distance: int, inside: bool) -> int:
    """The distance between cue and digit; raises `UserError` where a window could hold both unasked."""
    if distance < VIEW and not inside:
        raise UserError(
            f"data.options.distance={distance}: a window of {VIEW} px would hold what the probe keeps apart; "
            f"use at least {VIEW}, or data.options.inside=true data.bound=null to make it solvable on purpose"
        )
    if inside and data.bound is not None:
        raise UserError("data.options.inside=true: the bound no longer holds; set data.bound=null")
    return distance


def row(
    rng: np.random.Generator, count: int, elements: Sequence[Element], width: int
) -> Int[np.ndarray, "n k"]:
    """Random left edges of elements in a row that keep their gaps; raises `UserError` if it is too long."""
    needed = sum(e.width for e in elements) + sum(e.gap for e in elements[1:])
    if width < needed:
        raise UserError(f"data.width={width}: digits and cue need at least {needed} px at this distance")
    steps = np.array([0, *(before.width + e.gap for before, e in itertools.pairwise(elements))]).cumsum()
    slack = np.sort(rng.integers(0, width - needed + 1, (count, len(elements))), axis=1)
    return steps + slack


def factorial(rng: np.random.Generator, count: int, *levels: int) -> list[Int[np.ndarray, " n"]]:
    """Factors that are balanced and independent of each other: every combination, over and over, shuffled."""
    table = np.stack([f.ravel() for f in np.meshgrid(*map(np.arange, levels), indexing="ij")], 1)
    turns = [rng.permutation(table) for _ in range(-(-count // len(table)))]
    return list(np.concatenate(turns)[:count].T)


def canvas(count: int, data: Data) -> Float[np.ndarray, "n h w 3"]:
    """Dark images; raises `UserError` where a digit is higher than they are."""
    channels, height, width = data.image
    if height < SIDE + 2:
        raise UserError(f"data.size={height}: digits of probes need at least {SIDE + 2} px")
    return np.full((count, height, width, channels), DARK, np.float32)


def write(
    rng: np.random.Generator,
    images: Float[np.ndarray, "n h w 3"],
    pool: Digits,
    labels: Int[np.ndarray, " n"],
    left: Int[np.ndarray, " n"],
    color: Float[np.ndarray, "..."],
) -> None:
    """Write a random digit of each label, in place: left edge given, height random, color (3) or (n 3)."""
    members = [np.flatnonzero(pool.labels == label) for label in range(len(SHOWN))]
    top = rng.integers(0, images.shape[1] - SIDE + 1, len(images))
    for i, (label, shade) in enumerate(zip(labels, np.broadcast_to(color, (len(images), 3)))):
        strokes = pool.strokes[rng.choice(members[label])]
        place = images[i, top[i] : top[i] + SIDE, left[i] : left[i] + SIDE]
        np.maximum(place, strokes[:, :, None] * shade, out=place)


def bar(
    images: Float[np.ndarray, "n h w 3"],
    left: Int[np.ndarray, " n"],
    color: Float[np.ndarray, "n 3"],
    width: int = 3,
) -> None:
    """Draw an upright bar of the image's height, in place."""
    for image, edge, shade in zip(images, left, color):
        image[:, edge : edge + width] = shade


def tint(images: Float[np.ndarray, "n h w 3"], color: Float[np.ndarray, "n 3"]) -> None:
    """Give the whole background a shade of a color, in place: the cue in every window."""
    images += 0.25 * color[:, None, None]


def pixels(
    drawn: Drawn, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "n h w 3"], Int[np.ndarray, " n"]]:
    """As bytes, with a little noise."""
    noise = NOISE * rng.standard_normal(drawn.images.shape, np.float32)
    return ((drawn.images + noise).clip(0, 1) * 255).round().astype(np.uint8), drawn.labels
