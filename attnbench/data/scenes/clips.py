"""Moving digits: the class is how a digit moves or changes, which the order of the frames alone tells.

Four motions (across, down, in size, in brightness), each forwards and backwards. A clip of the backward
class is made as one of the forward class with time reversed, so both show the same sets of frames with the
same chances, and what forgets the order is right half of the time at most.
"""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from attnbench.config.schema import Data
from attnbench.data import require
from attnbench.data.pipeline.clips import Part, resident_clips
from attnbench.data.pipeline.order import generator
from attnbench.data.pipeline.split import Dataset
from attnbench.data.scenes.digits import (
    COUNTS,
    Digits,
    Pose,
    background,
    colours,
    counts,
    digits,
    fragments,
    outline,
    pose,
)
from attnbench.errors import UserError

CLASSES = ("right", "left", "down", "up", "grow", "shrink", "appear", "vanish")
BLOCK = 80  # clips painted at a time, each block from its own seed
FRAGMENTS = 2
FAINT = 0.5  # contrast of a fragment to its background, as a share of the digit's
SIDE = (0.3, 0.45)  # of a digit, as a share of the image's
WAY = (0.35, 0.55)  # of a digit that moves, as a share of the image's side
GROWTH = (1.6, 2.2)  # of a digit's side
DIM = 0.1  # of a digit's contrast where it is faintest


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """Clips on the device, classes in equal numbers; `data.split_seed` draws all but the test clips."""
    require(data, classes=len(CLASSES), channels=3)
    square(data)
    if data.frames is None or data.frames < 2:
        raise UserError(f"data.frames={data.frames}: the order of moving digits needs at least 2 frames")
    parts = {}
    for split, count in counts(data, COUNTS).items():
        seed = 0 if split == "test" else data.split_seed
        parts[split] = paint(split, count, data.size, data.frames, seed)
    return resident_clips(list(CLASSES), parts, data, device)


def square(data: Data) -> None:
    """Raise `UserError` where the images are not to be square."""
    if data.width not in (None, data.size):
        raise UserError(f"data.width={data.width}: scenes of this task are square; leave it out")


@lru_cache(maxsize=6)
def paint(split: str, count: int, size: int, frames: int, seed: int) -> Part:
    """`count` clips (n t s s 3) of a split and their labels; kept, since the cells of a sweep share them."""
    code = list(COUNTS).index(split)
    pool = digits(split, seed)
    blocks = [block(pool, size, frames, generator(seed, code, 1, i)) for i in range(-(-count // BLOCK))]
    clips, labels = (np.concatenate(part)[:count] for part in zip(*blocks))
    return clips, labels


def block(
    pool: Digits, size: int, frames: int, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "b t s s 3"], Int[np.ndarray, " b"]]:
    """BLOCK clips; any eight that follow each other show the eight classes."""
    labels = rng.random((BLOCK // len(CLASSES), len(CLASSES))).argsort(1).ravel()
    where, strength = motion(rng, labels, frames)
    scene = clutter(pool, rng, BLOCK, size)
    tone = scene.mean((2, 3))
    strokes = torch.from_numpy(pool.strokes[rng.integers(len(pool.labels), size=BLOCK)])
    colour = colours(rng, tone)[:, :, None, None]
    clips = torch.empty(BLOCK, frames, 3, size, size)
    for t, (place, strong) in enumerate(zip(where, strength.unbind(1))):
        cover = outline(strokes, place, size)[:, None] * strong[:, None, None, None]
        clips[:, t] = torch.lerp(scene, colour.expand_as(scene), cover.expand_as(scene))
    return pixels(clips, rng), labels


def clutter(pool: Digits, rng: np.random.Generator, count: int, size: int) -> Float[Tensor, "n 3 s s"]:
    """Backgrounds with faint fragments of digits."""
    scene = background(rng, count, size)
    tone = scene.mean((2, 3))
    for _ in range(FRAGMENTS):
        faint = torch.lerp(tone, colours(rng, tone), FAINT)[:, :, None, None]
        cover = outline(fragments(pool, rng, count), pose(rng, count, margin=0.1), size)[:, None]
        scene = torch.lerp(scene, faint.expand_as(scene), cover.expand_as(scene))
    return scene


def pixels(clips: Float[Tensor, "n t 3 s s"], rng: np.random.Generator) -> UInt8[np.ndarray, "n t s s 3"]:
    """With a little noise, as bytes."""
    noise = torch.from_numpy(rng.standard_normal(clips.shape, np.float32))
    bytes_ = (clips + 0.03 * noise).clamp_(0, 1).mul_(255).round_().to(torch.uint8)
    return bytes_.permute(0, 1, 3, 4, 2).contiguous().numpy()


def motion(
    rng: np.random.Generator, labels: Int[np.ndarray, " n"], frames: int
) -> tuple[list[Pose], Float[Tensor, "n t"]]:
    """Poses of a digit in each frame, and its contrast; odd labels run the even ones' paths backwards."""
    n, kind = len(labels), labels // 2
    draw = rng.random((6, n))
    side = SIDE[0] + draw[0] * (SIDE[1] - SIDE[0])
    way = (WAY[0] + draw[1] * (WAY[1] - WAY[0])) * np.stack([kind == 1, kind == 0], 1).T  # down, right
    growth = np.where(kind == 2, GROWTH[0] + draw[2] * (GROWTH[1] - GROWTH[0]), 1.0)
    middle = 0.5 + (draw[3:5] - 0.5) * (1 - side * growth - way)
    share = np.linspace(0, 1, frames)
    when = np.where(labels[:, None] % 2 == 0, share, share[::-1])  # n t
    dim = np.where(kind == 3, DIM, 1.0)[:, None]
    angle = torch.from_numpy(((2 * draw[5] - 1) * 0.25).astype(np.float32))
    poses = []
    for at in when.T:
        centre = torch.from_numpy((middle + way * (at - 0.5)).T.astype(np.float32))
        poses.append(Pose(centre, torch.from_numpy((side * growth**at).astype(np.float32)), angle))
    return poses, torch.from_numpy((dim + (1 - dim) * when).astype(np.float32))
