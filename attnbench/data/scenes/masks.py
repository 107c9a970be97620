"""Masks of cluttered digits: several in a picture, painted over each other; what is seen of each is its mask.

They are painted as the pictures with one digit are, by the same outlines, so that masks are exact.
"""

from functools import lru_cache
from hashlib import sha256

import numpy as np
import torch
from jaxtyping import Int, UInt8

from attnbench.config.schema import Data
from attnbench.data import require
from attnbench.data.pipeline.joint import Joint
from attnbench.data.pipeline.masked import ResidentMasks
from attnbench.data.pipeline.order import generator
from attnbench.data.pipeline.split import Dataset
from attnbench.data.scenes.digits import (
    BLOCK,
    COUNTS,
    FAINT,
    FRAGMENTS,
    Digits,
    background,
    colours,
    counts,
    digits,
    fragments,
    of_class,
    outline,
    pose,
)
from attnbench.errors import UserError

NAMES = ("background", *map(str, range(10)))
MOST = 3  # digits in a picture; at least one
SIDES = (0.4, 0.6)  # of a digit, as a share of the image's
COVERED = 0.5  # a pixel shows the last digit that covers at least this share of it
MASKS = 1  # in the key of the random numbers: other pictures than those with one digit


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """Scenes and masks on the device; `data.split_seed` draws all but the test images."""
    require(data, classes=len(NAMES), channels=3)
    if data.image[1] != data.image[2]:
        raise UserError(f"data.width={data.width}: scenes are squares of data.size={data.size}")
    digest, joint = sha256(), Joint(data, device)
    splits = {}
    for split, count in counts(data, COUNTS).items():
        seed = 0 if split == "test" else data.split_seed
        images, masks = paint(split, count, data.size, seed)
        digest.update(images.data)
        digest.update(masks.data)
        whole = np.full((count, 2), data.size)
        splits[split] = ResidentMasks(images, masks, whole, joint, device)
    return Dataset(list(NAMES), splits["train"], splits["val"], splits["test"], digest.hexdigest()[:16])


@lru_cache(maxsize=6)
def paint(
    split: str, count: int, size: int, seed: int
) -> tuple[UInt8[np.ndarray, "n s s 3"], UInt8[np.ndarray, "n s s"]]:
    """`count` scenes of a split and their masks; kept, since the cells of a sweep share them."""
    code, pool = list(COUNTS).index(split), digits(split, seed)
    blocks = [_block(pool, size, generator(seed, code, i, MASKS)) for i in range(-(-count // BLOCK))]
    images, masks = (np.concatenate(part)[:count] for part in zip(*blocks))
    return images, masks


def _block(
    pool: Digits, size: int, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "b s s 3"], UInt8[np.ndarray, "b s s"]]:
    """BLOCK scenes; in each layer, any ten that follow each other show ten different digits."""
    picture = background(rng, BLOCK, size)
    tone = picture.mean((2, 3))
    for _ in range(FRAGMENTS):
        cover = outline(fragments(pool, rng, BLOCK), pose(rng, BLOCK, 0.1, SIDES), size)[:, None]
        faint = torch.lerp(tone, colours(rng, tone), FAINT)
        picture = torch.lerp(picture, faint[:, :, None, None], cover)
    mask = torch.zeros(BLOCK, size, size, dtype=torch.uint8)
    many = torch.from_numpy(rng.integers(1, MOST + 1, BLOCK))
    for layer in range(MOST):
        labels = _labels(rng)
        cover = outline(of_class(pool, labels, rng), pose(rng, BLOCK, sides=SIDES), size)
        cover = cover * (layer < many)[:, None, None]
        picture = torch.lerp(picture, colours(rng, tone)[:, :, None, None], cover[:, None])
        shown = torch.from_numpy(labels + 1).to(torch.uint8)[:, None, None]
        mask = torch.where(cover >= COVERED, shown, mask)
    picture = picture + 0.03 * torch.from_numpy(rng.standard_normal(picture.shape, np.float32))
    pixels = picture.clamp(0, 1).mul(255).round().permute(0, 2, 3, 1).to(torch.uint8)
    return pixels.contiguous().numpy(), mask.numpy()


def _labels(rng: np.random.Generator) -> Int[np.ndarray, " b"]:
    return rng.random((BLOCK // 10, 10)).argsort(1).ravel()
