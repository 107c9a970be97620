"""Two digits far apart: do they show the same class?

A sum over windows knows which classes are there, not whether two places agree. The mean of the logits that
cross-entropy leads such a sum to is right half of the time.
"""

from typing import Any

import numpy as np
import torch

from attnbench.config.schema import Data
from attnbench.data.pipeline.split import Dataset
from attnbench.data.scenes import probes
from attnbench.data.scenes.digits import Digits
from attnbench.data.scenes.probes import SHOWN, SIDE, WHITE, Drawn, Element

NAMES = ("different", "same")


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """Pairs of digits on the device."""
    return probes.build(data, device, NAMES, paint, distance=20, inside=False)


def paint(rng: np.random.Generator, pool: Digits, count: int, data: Data, chosen: dict[str, Any]) -> Drawn:
    """Images of two digits; same and different pairs, and the classes in each place, are balanced."""
    distance = probes.far(data, chosen["distance"], chosen["inside"])
    others = len(SHOWN) - 1
    label, first, shift = probes.factorial(rng, count, 2, len(SHOWN), others)
    second = np.where(label == 1, first, (first + 1 + shift) % len(SHOWN))
    images = probes.canvas(count, data)
    edges = probes.row(rng, count, [Element(SIDE), Element(SIDE, distance)], images.shape[2])
    for digit, left in zip((first, second), edges.T):
        probes.write(rng, images, pool, digit, left, WHITE)
    return Drawn(images, label)
