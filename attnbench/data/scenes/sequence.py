"""Several digits side by side, to be read from left to right until the end symbol."""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int, UInt8

from attnbench.config.schema import Data
from attnbench.data import require
from attnbench.data.pipeline.order import generator
from attnbench.data.pipeline.split import Dataset, resident
from attnbench.data.scenes.clips import clutter, pixels, square
from attnbench.data.scenes.digits import COUNTS, Digits, Pose, colours, counts, digits, outline

NAMES = (*"0123456789", "end")
END, AFTER = 10, -100  # the symbol after the last digit, and what follows it in targets
BLOCK = 100
TILT = 0.2  # rad, at most


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """Images on the device, each with 1 to `data.length` digits; the split seed draws all but the test's."""
    require(data, classes=len(NAMES), channels=3)
    square(data)
    parts = {}
    for split, count in counts(data, COUNTS).items():
        seed = 0 if split == "test" else data.split_seed
        parts[split] = paint(split, count, data.size, data.length or 1, seed)
    return resident(list(NAMES), parts, data, device)


@lru_cache(maxsize=6)
def paint(
    split: str, count: int, size: int, length: int, seed: int
) -> tuple[UInt8[np.ndarray, "n s s 3"], Int[np.ndarray, "n steps"]]:
    """`count` images of a split and their targets; kept, since the cells of a sweep share them."""
    code = list(COUNTS).index(split)
    pool = digits(split, seed)
    blocks = [_block(pool, size, length, generator(seed, code, 2, i)) for i in range(-(-count // BLOCK))]
    images, targets = (np.concatenate(part)[:count] for part in zip(*blocks))
    return images, targets


def targets_of(
    labels: Int[np.ndarray, "n length"], count: Int[np.ndarray, " n"], end: int
) -> Int[np.ndarray, "n steps"]:
    """The first `count` labels of each row, the end symbol, then what no loss looks at."""
    steps = np.arange(labels.shape[1] + 1)
    wide = np.pad(labels, ((0, 0), (0, 1)))
    after = np.where(steps == count[:, None], end, AFTER)
    return np.where(steps < count[:, None], wide, after)


def _block(
    pool: Digits, size: int, length: int, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "b s s 3"], Int[np.ndarray, "b steps"]]:
    count = rng.integers(1, length + 1, BLOCK)
    rows = rng.integers(len(pool.labels), size=(BLOCK, length))
    scene = clutter(pool, rng, BLOCK, size)
    tone = scene.mean((2, 3))
    for slot, place in enumerate(_poses(rng, count, length)):
        there = torch.from_numpy((slot < count).astype(np.float32))[:, None, None, None]
        cover = outline(torch.from_numpy(pool.strokes[rows[:, slot]]), place, size)[:, None] * there
        colour = colours(rng, tone)[:, :, None, None]
        scene = torch.lerp(scene, colour.expand_as(scene), cover.expand_as(scene))
    return pixels(scene[:, None], rng)[:, 0], targets_of(pool.labels[rows], count, END)


def _poses(rng: np.random.Generator, count: Int[np.ndarray, " n"], length: int) -> list[Pose]:
    """Digits in `count` equal columns, each anywhere in the middle of its own; at most a column wide."""
    draw = rng.random((length, 4, len(count)))
    side = (0.8 + 0.2 * draw[0, 3]) * np.minimum(1.2 / np.maximum(count, 2), 0.6)
    found = []
    for slot, (down, right, tilt, _) in enumerate(draw):
        across = (slot + 0.5 + 0.15 * (right - 0.5)) / count
        centre = np.stack([0.5 + (down - 0.5) * (1 - side) * 0.8, np.minimum(across, 1)], 1)
        angle = (2 * tilt - 1) * TILT
        found.append(Pose(*(torch.from_numpy(a.astype(np.float32)) for a in (centre, side, angle))))
    return found
