"""Skeletons: one label for the way that joints move."""

from torch import nn

from attnbench import backbones
from attnbench.config.schema import Config
from attnbench.errors import UserError
from attnbench.tasks import cls
from attnbench.tasks._card import CLASSIFICATION, Card

COORDINATES = 3


class Task(cls.Task):
    """Cross-entropy on a network for sequences of joints (b t joints 3)."""

    card = Card(metrics=CLASSIFICATION, reads="skeletons", chance="classes")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        data = config.data
        if data.frames is None or data.joints is None:
            raise UserError(f"task=skeleton: data set '{data.name}' has no skeletons")
        self.shape = self.cost_shape = (data.frames, data.joints, COORDINATES)

    def network(self) -> nn.Module:
        frames, joints, coordinates = self.shape
        flat = (joints * coordinates, frames, 1)
        return backbones.build(self.config.backbone, self.config.data.classes, flat)
