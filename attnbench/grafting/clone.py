"""Copies of networks to measure on, so that the network itself stays as it was."""

import copy
from typing import Any

import torch
from torch import Tensor, nn


def copied(model: nn.Module, device: torch.device, training: bool = False) -> nn.Module:
    """A copy of `model` on `device`, in evaluation or training mode; a meta copy takes no memory."""
    memo: dict[int, Any] = {id(t): _moved(t, device) for module in model.modules() for t in _tensors(module)}
    return copy.deepcopy(model, memo).train(training)


def _tensors(module: nn.Module) -> list[Tensor]:
    """The module's own tensors, those that are plain attributes too."""
    own = [*module._parameters.values(), *module._buffers.values(), *vars(module).values()]
    return [t for t in own if isinstance(t, Tensor)]


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    moved = tensor.detach().to(device, copy=True)
    return nn.Parameter(moved, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved
