"""Tasks: what a network is asked to do, one kind a file. The file's name is what `task=` takes."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from attnbench.config.schema import Config


class Meter(Protocol):
    """Metrics of a split, gathered batch by batch."""

    sums: Tensor  # all that was gathered, as one vector: sums of several meters add up

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Take in one batch."""

    def compute(self) -> Mapping[str, float]:
        """The metrics of all that was taken in."""


class Task(Protocol):
    """A head on the backbone, a loss and metrics."""

    headline: str  # the metric that a curve shows
    shape: tuple[int, ...]  # of one of the network's inputs: (c h w) of images, (t c h w) of clips
    cost_shape: tuple[int, ...]  # of the input that costs are measured on

    def __init__(self, config: Config) -> None: ...

    def network(self) -> nn.Module:
        """The backbone with the task's head, without attention, from torch's global generator."""

    def inputs(self, images: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        """What the network takes in training: the images alone, or the targets too, to be taught by."""

    def loss(self, outputs: Any, targets: Tensor) -> Tensor:
        """The mean loss of a training batch; outputs as the network in training mode gives them."""

    def predict(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """What the meter takes in: the outputs of the network in evaluation mode, or of several passes."""

    def meter(self, device: torch.device) -> Meter:
        """A new meter."""


def load(config: Config) -> Task:
    """The task that the configuration names."""
    return import_module(f"{__name__}.{config.task.name}").Task(config)
