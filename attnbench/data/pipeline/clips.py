"""Clips that lie on the device: each is augmented as one image whose channels are those of all its frames."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from attnbench.config.schema import Data
from attnbench.data.pipeline.augment import Pixels
from attnbench.data.pipeline.order import Plan
from attnbench.data.pipeline.split import Dataset, Resident, gathered


def stacked(data: Data, frames: int) -> Data:
    """The settings of a set whose images hold the channels of `frames` frames."""
    return replace(
        data,
        channels=frames * data.channels,
        mean=frames * list(data.mean),
        std=frames * list(data.std),
    )


class Clips(Resident):
    """Clips (n t h w c) of uint8; what is drawn for one holds for all its frames."""

    def __init__(
        self, clips: UInt8[np.ndarray, "n t h w c"], targets: np.ndarray, data: Data, device: torch.device
    ) -> None:
        n, self.frames, h, w, c = clips.shape
        images = np.ascontiguousarray(clips.transpose(0, 2, 3, 1, 4)).reshape(n, h, w, self.frames * c)
        super().__init__(images, targets, Pixels(stacked(data, self.frames), device), device)

    def read(self, plan: Plan) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches (b t c h w)."""
        for images, targets in super().read(plan):
            yield images.unflatten(1, (self.frames, -1)), targets


Part = tuple[UInt8[np.ndarray, "n t h w c"], Int[np.ndarray, " n"]]


def resident_clips(classes: list[str], parts: dict[str, Part], data: Data, device: torch.device) -> Dataset:
    """A data set of (clips, targets) for each of train, val and test, put on the device."""
    splits = {name: Clips(clips, targets, data, device) for name, (clips, targets) in parts.items()}
    return gathered(classes, splits, [array for part in parts.values() for array in part])
