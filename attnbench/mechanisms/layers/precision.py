"""Full precision inside half-precision runs, for what would overflow there: scores, sums over positions."""

from collections.abc import Callable
from functools import wraps
from itertools import chain
from typing import ParamSpec

import torch
from torch import Tensor, nn

P = ParamSpec("P")


def full_precision(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """The function outside autocast, its tensors in float32 at least."""

    @wraps(function)
    def wide(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        device = next(a for a in args if isinstance(a, Tensor)).device.type
        with torch.autocast(device, enabled=False):
            return function(*(widened(a) for a in args), **kwargs)  # type: ignore[arg-type]

    return wide


def widened(value: object) -> object:
    """A tensor in float32 at least; anything else as it is."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.to(torch.promote_types(value.dtype, torch.float32))
    return value


def narrowed(y: Tensor, dtype: torch.dtype) -> Tensor:
    """y in that type; what float16 cannot hold becomes its largest number."""
    if dtype == torch.float16 and y.dtype != dtype:
        largest = torch.finfo(dtype).max
        y = y.clamp(-largest, largest)
    return y.to(dtype)


def matched(y: Tensor, layer: nn.Module) -> Tensor:
    """y in the dtype of the layer's weights: float32 under autocast, half in a half-precision network.

    The weights of a frozen norm are buffers.
    """
    tensors = chain(layer.parameters(), layer.buffers())
    return narrowed(y, next((t.dtype for t in tensors if t.is_floating_point()), y.dtype))
