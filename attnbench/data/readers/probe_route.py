"""Two digits written over each other in two color planes, and a bar far away that names the plane."""

from typing import Any

import numpy as np
import torch

from attnbench.config.schema import Data
from attnbench.data.pipeline.split import Dataset
from attnbench.data.scenes import probes
from attnbench.data.scenes.digits import Digits
from attnbench.data.scenes.probes import HUES, SHOWN, SIDE, Drawn, Element


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """Pairs of digits in one place and a cue on the device."""
    names = [str(digit) for digit in SHOWN]
    return probes.build(data, device, names, paint, distance=13, inside=False, given=False)


def paint(rng: np.random.Generator, pool: Digits, count: int, data: Data, chosen: dict[str, Any]) -> Drawn:
    """Images of a red and a green digit in one place; classes, cue and its side are independent."""
    distance = probes.far(data, chosen["distance"], chosen["inside"] or chosen["given"])
    red, green, asked, side = probes.factorial(rng, count, len(SHOWN), len(SHOWN), 2, 2)
    images = probes.canvas(count, data)
    width, cue = images.shape[2], HUES[asked]
    edges = probes.row(rng, count, [Element(SIDE), Element(3, distance)], width)
    digit = np.where(side == 0, edges[:, 0], width - SIDE - edges[:, 0])
    if chosen["given"]:
        probes.tint(images, cue)
    state = rng.bit_generator.state
    for plane, labels in enumerate((red, green)):
        rng.bit_generator.state = state  # both digits at the same height
        probes.write(rng, images, pool, labels, digit, HUES[plane])
    probes.bar(images, np.where(side == 0, edges[:, 1], width - 3 - edges[:, 1]), cue)
    return Drawn(images, np.where(asked == 0, red, green))
