"""Cluttered digits: real handwritten digits, coloured, over fragments of others; made on the fly, seeded.

The digits are scikit-learn's (Alpaydin and Kaynak 1998, 8x8 px); those of the training, validation
and test images are disjoint. A picture is painted in layers, each an outline (how much of a pixel a
stroke covers) and a colour, so that the outlines are masks and a moved outline is the next frame.
"""

from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from attnbench.config.schema import Data
from attnbench.data import kept, one_count, options, require
from attnbench.data.pipeline.order import generator, stratified
from attnbench.data.pipeline.split import Dataset, resident

COUNTS = {"train": 4000, "val": 1000, "test": 1000}
BLOCK = 100  # images painted at a time, each block from its own seed: fewer images are a prefix of more
FRAGMENTS = 6
FAINT = 0.5  # contrast of a fragment to its background, as a share of the digit's
SIDE = (0.55, 0.85)  # of a digit, as a share of the image's
TILT = 0.25  # rad, at most


class Digits(NamedTuple):
    """Handwritten digits and what they show."""

    strokes: Float[np.ndarray, "n 8 8"]  # 0 ... 1
    labels: Int[np.ndarray, " n"]


class Pose(NamedTuple):
    """Where outlines lie in their images: in shares of the image's side, from its top left corner."""

    centre: Float[Tensor, "n 2"]  # down, right
    side: Float[Tensor, " n"]
    angle: Float[Tensor, " n"]  # rad


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """Scenes on the device, classes in equal numbers; `data.split_seed` draws all but the test images."""
    require(data, classes=10, channels=3)
    parts = {}
    for split, count in counts(data, COUNTS).items():
        parts[split] = paint(split, count, data.size, 0 if split == "test" else data.split_seed)
    return resident([str(digit) for digit in range(10)], parts, data, device)


def counts(data: Data, usual: Mapping[str, int]) -> dict[str, int]:
    """How many of each split: as the settings say or as usual; `subset` keeps the first of the training's."""
    found = {split: getattr(data, split) or count for split, count in usual.items()}
    subset = options(data, subset=None)["subset"]
    one_count(data, subset)
    return found | {"train": kept(subset, found["train"], "train")}


def _handwritten() -> Digits:
    """scikit-learn's digits, from its file: to import the package takes a second or two."""
    package = find_spec("sklearn")
    places = (package.submodule_search_locations if package else None) or ()
    files = (Path(place, "datasets", "data", "digits.csv.gz") for place in places)
    if (file := next((f for f in files if f.is_file()), None)) is None:
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
    else:
        table = np.loadtxt(file, delimiter=",")
        pixels, labels = table[:, :-1], table[:, -1].astype(int)
    return Digits(pixels.reshape(-1, 8, 8).astype(np.float32) / 16, labels)


@cache
def digits(split: str, seed: int) -> Digits:
    """The digits of a split: a fifth of all for test, a tenth for val (by `seed`), the rest for train."""
    every = _handwritten()
    order = stratified(every.labels, 0)
    fifth, tenth = len(order) // 5, len(order) // 10
    rest = order[fifth:][stratified(every.labels[order[fifth:]], seed)]
    rows = {"test": order[:fifth], "val": rest[:tenth], "train": rest[tenth:]}[split]
    return Digits(every.strokes[rows], every.labels[rows])


@lru_cache(maxsize=6)
def paint(
    split: str, count: int, size: int, seed: int
) -> tuple[UInt8[np.ndarray, "n s s 3"], Int[np.ndarray, " n"]]:
    """`count` scenes of a split and their labels; kept, since the cells of a sweep share them."""
    code = list(COUNTS).index(split)
    blocks = [_block(digits(split, seed), size, generator(seed, code, i)) for i in range(-(-count // BLOCK))]
    images, labels = (np.concatenate(part)[:count] for part in zip(*blocks))
    return images, labels


def _block(
    pool: Digits, size: int, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "b s s 3"], Int[np.ndarray, " b"]]:
    """BLOCK scenes; any ten that follow each other show ten different digits."""
    labels = rng.random((BLOCK // 10, 10)).argsort(1).ravel()
    picture = background(rng, BLOCK, size)
    tone = picture.mean((2, 3))
    for _ in range(FRAGMENTS):
        faint = torch.lerp(tone, colours(rng, tone), FAINT)
        _layer(picture, fragments(pool, rng, BLOCK), pose(rng, BLOCK, margin=0.1), faint)
    _layer(picture, of_class(pool, labels, rng), pose(rng, BLOCK), colours(rng, tone))
    noise = torch.from_numpy(rng.standard_normal(picture.shape, np.float32))
    picture = (picture + 0.03 * noise).clamp_(0, 1).mul_(255).round_()
    return picture.permute(0, 2, 3, 1).to(torch.uint8).contiguous().numpy(), labels


def _layer(picture: Tensor, strokes: Tensor, where: Pose, colour: Tensor) -> None:
    """Paint strokes in a colour over the picture (n 3 s s), in place."""
    cover = outline(strokes, where, picture.shape[2])[:, None]
    picture.lerp_(colour[:, :, None, None].expand_as(picture), cover.expand_as(picture))


def outline(strokes: Float[Tensor, "n 8 8"], where: Pose, size: int) -> Float[Tensor, "n s s"]:
    """How much of each pixel of an image of `size` px the strokes cover when they lie at a pose."""
    at = (torch.arange(size) + 0.5) / size
    down, right = ((at - centre[:, None]) / where.side[:, None] * 2 for centre in where.centre.unbind(1))
    cos, sin = where.angle.cos()[:, None, None], where.angle.sin()[:, None, None]
    down, right = down[:, :, None], right[:, None, :]
    grid = torch.stack([cos * right + sin * down, cos * down - sin * right], 3)
    return F.grid_sample(strokes[:, None], grid, align_corners=False)[:, 0]


def pose(
    rng: np.random.Generator,
    count: int,
    margin: float | None = None,
    sides: tuple[float, float] = SIDE,
) -> Pose:
    """Random poses; the whole outline lies in the image unless a margin says how near its centre may come."""
    draw = torch.from_numpy(rng.random((count, 4), np.float32))
    side = sides[0] + draw[:, 0] * (sides[1] - sides[0])
    edge = side[:, None] / 2 if margin is None else margin
    return Pose(edge + draw[:, 1:3] * (1 - 2 * edge), side, (2 * draw[:, 3] - 1) * TILT)


def background(rng: np.random.Generator, count: int, size: int) -> Float[Tensor, "n 3 s s"]:
    """Two dark colours that run into each other in soft patches."""
    ends = 0.5 * torch.from_numpy(rng.random((2, count, 3, 1, 1), np.float32))
    patches = torch.from_numpy(rng.random((count, 1, 4, 4), np.float32))
    share = F.interpolate(patches, (size, size), mode="bilinear", align_corners=False)
    return torch.lerp(ends[0], ends[1], share)


def colours(rng: np.random.Generator, tone: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Of four random colours for each image the one least like its background's tone."""
    drawn = torch.from_numpy(rng.random((len(tone), 4, 3), np.float32))
    best = (drawn - tone[:, None]).square().sum(2).argmax(1)
    return drawn[torch.arange(len(tone)), best]


def fragments(pool: Digits, rng: np.random.Generator, count: int) -> Float[Tensor, "n 8 8"]:
    """A random window of about a quarter of a random digit, the rest left out."""
    strokes = pool.strokes[rng.integers(len(pool.labels), size=count)]
    first = rng.integers(0, 5, (2, count, 1))
    down, right = ((at <= np.arange(8)) & (np.arange(8) < at + 4) for at in first)
    return torch.from_numpy(strokes * (down[:, :, None] & right[:, None, :]))


def of_class(pool: Digits, labels: Int[np.ndarray, " n"], rng: np.random.Generator) -> Float[Tensor, "n 8 8"]:
    """A random digit of each label."""
    members = [np.flatnonzero(pool.labels == digit) for digit in range(10)]
    draw = rng.random(len(labels))
    rows = [members[label][int(u * len(members[label]))] for label, u in zip(labels, draw)]
    return torch.from_numpy(pool.strokes[rows])
