"""Two frames of a clip show a 0 and a 1, all others nothing: which comes first?

A clip of one class is one of the other with time reversed, so both classes show the same sets of frames, and
what forgets their order is right half of the time.
"""

from typing import Any

import numpy as np
import torch

from attnbench.config.schema import Data
from attnbench.data import options, require
from attnbench.data.pipeline.clips import resident_clips
from attnbench.data.pipeline.order import generator
from attnbench.data.pipeline.split import Dataset
from attnbench.data.scenes import probes
from attnbench.data.scenes.digits import Digits
from attnbench.data.scenes.probes import SIDE, WHITE, Drawn
from attnbench.errors import UserError

NAMES = ("0 first", "1 first")
COUNTS = {"train": 1500, "val": 200, "test": 1000}


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """Clips on the device, classes in equal numbers."""
    require(data, classes=len(NAMES), channels=3)
    chosen, parts = options(data, gap=13, margin=6), {}
    for code, (split, usual) in enumerate(COUNTS.items()):
        count = getattr(data, split) or usual
        seed = 0 if split == "test" else data.split_seed
        rng = generator(seed, code, 3)
        drawn = paint(rng, probes.shown(split, seed), count, data, chosen)
        frames, labels = probes.pixels(drawn, rng)
        parts[split] = frames.reshape(count, -1, *frames.shape[1:]), labels
    return resident_clips(list(NAMES), parts, data, device)


def paint(rng: np.random.Generator, pool: Digits, count: int, data: Data, chosen: dict[str, Any]) -> Drawn:
    """The frames of all clips, one after the other, and the clips' labels.

    Both events lie `gap` frames apart and at least `margin` frames from either end of the clip.
    """
    (label,) = probes.factorial(rng, count, 2)
    first = events(rng, count, data.frames or 0, chosen["gap"], chosen["margin"])
    frames = data.frames or 0
    images = probes.canvas(count * frames, data)
    for order, at in enumerate((first, first + chosen["gap"])):
        rows = np.arange(count) * frames + at
        left = rng.integers(0, images.shape[2] - SIDE + 1, count)
        shown = images[rows]
        probes.write(rng, shown, pool, np.where(order == 0, label, 1 - label), left, WHITE)
        images[rows] = shown
    return Drawn(images, label)


def events(rng: np.random.Generator, count: int, frames: int, gap: int, margin: int) -> np.ndarray:
    """The frame of each clip's first event; raises `UserError` where the time of one event tells its turn."""
    last = frames - margin - gap  # the first event lies before it, the second from margin + gap on
    if gap < 1 or margin < 0 or last <= margin + gap:
        least = 2 * (margin + gap) + 1
        raise UserError(
            f"data.frames={frames}: events {gap} frames apart, {margin} from the ends, need at least "
            f"{least} frames, or a fixed time would tell the first from the second"
        )
    return rng.integers(margin, last, count)
