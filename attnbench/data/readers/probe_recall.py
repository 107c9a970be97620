"""Digits of different hues side by side, and a bar far away in the hue of the one that is asked for."""

from typing import Any

import numpy as np
import torch

from attnbench.config.schema import Data
from attnbench.data.pipeline.split import Dataset
from attnbench.data.scenes import probes
from attnbench.data.scenes.digits import Digits
from attnbench.data.scenes.probes import HUES, SHOWN, SIDE, Drawn, Element
from attnbench.errors import UserError


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """Pairs of colored digits and a cue on the device."""
    names = [str(digit) for digit in SHOWN]
    return probes.build(data, device, names, paint, distance=14, inside=False, hues=2, given=False)


def paint(rng: np.random.Generator, pool: Digits, count: int, data: Data, chosen: dict[str, Any]) -> Drawn:
    """Images of two digits in two of the `hues`; classes, hues and which one is meant are independent."""
    distance, hues = probes.far(data, chosen["distance"], chosen["inside"] or chosen["given"]), chosen["hues"]
    if not 2 <= hues <= len(HUES):
        raise UserError(f"data.options.hues={hues}: must be 2 to {len(HUES)}")
    classes, first, shift = len(SHOWN), *probes.factorial(rng, count, hues, hues - 1)
    left, right, asked = probes.factorial(rng, count, classes, classes, 2)
    colors = HUES[first], HUES[(first + 1 + shift) % hues]
    images = probes.canvas(count, data)
    edges = probes.row(rng, count, [Element(SIDE), Element(SIDE, 1), Element(3, distance)], images.shape[2])
    cue = np.where(asked[:, None] == 0, *colors)
    if chosen["given"]:
        probes.tint(images, cue)
    for digit, color, edge in zip((left, right), colors, edges.T):
        probes.write(rng, images, pool, digit, edge, color)
    probes.bar(images, edges[:, 2], cue)
    return Drawn(images, np.where(asked == 0, left, right))
