"""Moving digits to be found again: an identity is one handwritten digit in one of six colours.

Each camera has a light of its own and shows an identity over another background on another path; colours
are shared by identities, so that shape must count as well. Identities of training, validation and test are
disjoint, as their digits are.
"""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from attnbench.config.schema import Data
from attnbench.data import require
from attnbench.data.pipeline.clips import Part, resident_clips
from attnbench.data.pipeline.order import generator
from attnbench.data.pipeline.split import Dataset
from attnbench.data.scenes.clips import clutter, motion, pixels, square
from attnbench.data.scenes.digits import Digits, counts, digits, outline
from attnbench.errors import UserError

PAINTS = np.array(
    [[1, 0.3, 0.2], [0.2, 0.9, 0.3], [0.3, 0.5, 1], [1, 0.9, 0.2], [1, 0.4, 0.9], [0.9, 0.9, 0.9]], np.float32
)
CAMERAS = 4
IDENTITIES = {"val": 25, "test": 50}
COUNTS = {"train": 2000, "val": 400, "test": 800}  # clips
TINT = 0.25  # how far a camera's light is from white


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """Clips on the device; training has `data.classes` identities, validation 25 and test 50 others.

    Training targets are identities (n,), the others' identity, camera and whether it is a query (n 3): the
    first clip of each identity at each camera is one, the rest is the gallery.
    """
    require(data, channels=3)
    square(data)
    frames = data.frames or 1
    parts: dict[str, Part] = {}
    for split, count in counts(data, COUNTS).items():
        identities = IDENTITIES.get(split, data.classes)
        least = identities * CAMERAS * (1 if split == "train" else 2)
        if count < least:
            raise UserError(
                f"data.{split}={count}: {identities} identities at {CAMERAS} cameras need {least}"
            )
        seed = 0 if split == "test" else data.split_seed
        clips, targets = paint(split, count, data.size, frames, identities, seed)
        parts[split] = clips, targets[:, 0] if split == "train" else targets
    names = [f"identity {i + 1}" for i in range(data.classes)]
    return resident_clips(names, parts, data, device)


@lru_cache(maxsize=6)
def paint(
    split: str, count: int, size: int, frames: int, identities: int, seed: int
) -> tuple[UInt8[np.ndarray, "n t s s 3"], Int[np.ndarray, "n 3"]]:
    """`count` clips of a split, and identity, camera and whether it is a query; kept for a sweep's cells."""
    code = list(COUNTS).index(split)
    pool = digits(split, seed)
    if identities > len(pool.labels):
        raise UserError(
            f"{identities} identities, but the digits of the {split} split are {len(pool.labels)}"
        )
    rng = generator(seed, code, 4)
    rows = rng.permutation(len(pool.labels))[:identities]
    paints = PAINTS[rng.integers(len(PAINTS), size=identities)]
    light = 1 - TINT * generator(5).random((CAMERAS, 3), np.float32)
    at = np.arange(count)
    identity, camera = at % identities, at // identities % CAMERAS
    clips = _clips(pool, pool.strokes[rows[identity]], paints[identity], light[camera], size, frames, rng)
    return clips, np.stack([identity, camera, at < identities * CAMERAS], 1).astype(np.int64)


def _clips(
    pool: Digits,
    strokes: Float[np.ndarray, "n 8 8"],
    paints: Float[np.ndarray, "n 3"],
    light: Float[np.ndarray, "n 3"],
    size: int,
    frames: int,
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "n t s s 3"]:
    """Each digit in its paint, under its camera's light, somewhere on its way."""
    n = len(strokes)
    kinds = rng.integers(0, 4, n)  # across or down, either way
    where, _ = motion(rng, kinds, frames)
    scene = clutter(pool, rng, n, size)
    drawn, paint_, lit = (torch.from_numpy(a) for a in (strokes, paints, light))
    clips = torch.empty(n, frames, 3, size, size)
    for t, place in enumerate(where):
        cover = outline(drawn, place, size)[:, None].expand_as(scene)
        clips[:, t] = torch.lerp(scene, paint_[:, :, None, None].expand_as(scene), cover)
    return pixels(clips * lit[:, None, :, None, None], rng)
