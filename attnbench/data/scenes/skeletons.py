"""Stick figures: two of three limbs are raised, each for a few frames; the class is which, and which first.

All joints sway, and the figure stands somewhere, turned and of some size: what tells the class is in the
three joints of two limbs, in a third of the frames. A clip of the class (b, a) is one of (a, b) with time
reversed, so that the mean over time tells which limbs, never which first.
"""

import itertools

import numpy as np
import torch
from jaxtyping import Float, Int

from attnbench.config.schema import Data
from attnbench.data import require
from attnbench.data.pipeline.order import generator
from attnbench.data.pipeline.skeletons import Part, resident_skeletons
from attnbench.data.pipeline.split import Dataset
from attnbench.data.scenes.digits import counts
from attnbench.errors import UserError

COUNTS = {"train": 4000, "val": 1000, "test": 1000}
BLOCK = 60
# Across, up and forward, in heights of the figure; head, neck, hip; then of each limb three joints outwards.
REST = np.array(
    [
        *([0, 0.95, 0], [0, 0.8, 0], [0, 0.5, 0]),
        *([-0.12, 0.78, 0], [-0.2, 0.65, 0], [-0.24, 0.5, 0]),
        *([0.12, 0.78, 0], [0.2, 0.65, 0], [0.24, 0.5, 0]),
        *([-0.08, 0.48, 0], [-0.1, 0.25, 0], [-0.1, 0.02, 0]),
        *([0.08, 0.48, 0], [0.1, 0.25, 0], [0.1, 0.02, 0]),
    ]
)
LIMBS = {"left arm": 3, "right arm": 6, "left leg": 9}  # and the first of their three joints
RAISED = np.array([[0, 0.05, 0.05], [0, 0.2, 0.15], [0, 0.4, 0.25]])  # of a limb's joints, at the most
CLASSES = tuple(f"{a}, {b}" for a, b in itertools.permutations(LIMBS, 2))
SWAY, NOISE, SHIFT = 0.02, 0.01, 0.1
LEAST_FRAMES = 12


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """Sequences on the device, classes in equal numbers; `data.split_seed` draws all but the test's."""
    require(data, classes=len(CLASSES), joints=len(REST))
    if data.frames is None or data.frames < LEAST_FRAMES:
        raise UserError(f"data.frames={data.frames}: two limbs in turn need at least {LEAST_FRAMES} frames")
    parts: dict[str, Part] = {}
    for split, count in counts(data, COUNTS).items():
        key = 0 if split == "test" else data.split_seed, list(COUNTS).index(split), 3
        blocks = [block(generator(*key, i), data.frames) for i in range(-(-count // BLOCK))]
        joints, labels = (np.concatenate(part)[:count] for part in zip(*blocks))
        parts[split] = joints, labels
    return resident_skeletons(list(CLASSES), parts, data, device)


def block(
    rng: np.random.Generator, frames: int
) -> tuple[Float[np.ndarray, "b t joints 3"], Int[np.ndarray, " b"]]:
    """BLOCK sequences; any six that follow each other show the six classes."""
    labels = rng.random((BLOCK // len(CLASSES), len(CLASSES))).argsort(1).ravel()
    joints = REST + gestures(rng, labels, frames) + _sway(rng, frames)
    joints = joints @ _turns(rng)[:, None] * rng.uniform(0.85, 1.15, (BLOCK, 1, 1, 1))
    joints = joints + rng.uniform(-SHIFT, SHIFT, (BLOCK, 1, 1, 3)) + NOISE * rng.standard_normal(joints.shape)
    return (2 * (joints - REST.mean(0))).astype(np.float32), labels


def gestures(
    rng: np.random.Generator, labels: Int[np.ndarray, " n"], frames: int
) -> Float[np.ndarray, "n t joints 3"]:
    """What raising the limbs adds to the joints: the first limb's bump, later the second's."""
    order = list(itertools.permutations(LIMBS.values(), 2))
    width = frames // 6
    early = rng.integers(0, frames // 2 - 2 * width, len(labels)) + width
    late = rng.integers(0, frames // 2 - 2 * width, len(labels)) + frames // 2 + width
    size = rng.uniform(0.7, 1.0, (2, len(labels)))
    time = np.arange(frames)
    added = np.zeros((len(labels), frames, *REST.shape))
    for row, label in enumerate(labels):
        for limb, at, strength in zip(order[label], (early[row], late[row]), size[:, row]):
            bump = strength * np.clip(1 - np.abs(time - at) / width, 0, 1)
            added[row, :, limb : limb + 3] += bump[:, None, None] * RAISED
    return added


def _sway(rng: np.random.Generator, frames: int) -> Float[np.ndarray, "b t joints 3"]:
    """Each coordinate swings at its own pace."""
    shape = (BLOCK, 1, *REST.shape)
    pace, phase = rng.uniform(0.5, 2.0, shape), rng.uniform(0, 2 * np.pi, shape)
    time = np.linspace(0, 2 * np.pi, frames)[None, :, None, None]
    return SWAY * np.sin(pace * time + phase)


def _turns(rng: np.random.Generator) -> Float[np.ndarray, "b 3 3"]:
    """Rotations about the vertical axis, up to 0.6 rad either way."""
    angle = rng.uniform(-0.6, 0.6, BLOCK)
    cos, sin, zero, one = np.cos(angle), np.sin(angle), np.zeros(BLOCK), np.ones(BLOCK)
    rows = [[cos, zero, sin], [zero, one, zero], [-sin, zero, cos]]
    return np.array(rows).transpose(2, 0, 1)
