"""Two white digits at the ends of the image, and a bar in the middle that says left or right."""

from typing import Any

import numpy as np
import torch

from attnbench.config.schema import Data
from attnbench.data.pipeline.split import Dataset
from attnbench.data.scenes import probes
from attnbench.data.scenes.digits import Digits
from attnbench.data.scenes.probes import HUES, SHOWN, SIDE, WHITE, Drawn, Element


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """Pairs of digits and a cue on the device."""
    names = [str(digit) for digit in SHOWN]
    return probes.build(data, device, names, paint, distance=14, inside=False, given=False)


def paint(rng: np.random.Generator, pool: Digits, count: int, data: Data, chosen: dict[str, Any]) -> Drawn:
    """Images of a digit at either end; a red bar asks for the left one, a green bar for the right one."""
    distance = probes.far(data, chosen["distance"], chosen["inside"] or chosen["given"])
    left, right, asked = probes.factorial(rng, count, len(SHOWN), len(SHOWN), 2)
    images = probes.canvas(count, data)
    elements = [Element(SIDE), Element(3, distance), Element(SIDE, distance)]
    edges = probes.row(rng, count, elements, images.shape[2])
    if chosen["given"]:
        probes.tint(images, HUES[asked])
    for digit, edge in zip((left, right), edges[:, ::2].T):
        probes.write(rng, images, pool, digit, edge, WHITE)
    probes.bar(images, edges[:, 1], HUES[asked])
    return Drawn(images, np.where(asked == 0, left, right))
