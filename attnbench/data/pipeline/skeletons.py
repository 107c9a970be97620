"""Sequences of joints that lie on the device: nothing of an image's augmentation applies to them."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from attnbench.config.schema import Data
from attnbench.data.pipeline.augment import Pixels
from attnbench.data.pipeline.order import Plan
from attnbench.data.pipeline.split import Dataset, Split, gathered

Part = tuple[Float[np.ndarray, "n t joints 3"], Int[np.ndarray, " n"]]


class Skeletons(Split):
    """Sequences (n t joints 3) as the network sees them, and their classes."""

    def __init__(
        self, joints: Float[np.ndarray, "n t joints 3"], targets: np.ndarray, data: Data, device: torch.device
    ) -> None:
        super().__init__(targets, Pixels(data, device), device)
        self.joints = torch.from_numpy(joints.astype(np.float32)).to(device)

    def read(self, plan: Plan) -> Iterator[tuple[Tensor, Tensor]]:
        for rows, _ in plan:
            where = torch.from_numpy(rows).to(self.device)
            yield self.joints[where], self.targets[where]


def resident_skeletons(
    classes: list[str], parts: dict[str, Part], data: Data, device: torch.device
) -> Dataset:
    """A data set of (sequences, labels) for each of train, val and test, put on the device."""
    splits = {name: Skeletons(joints, labels, data, device) for name, (joints, labels) in parts.items()}
    return gathered(classes, splits, [array for part in parts.values() for array in part])
