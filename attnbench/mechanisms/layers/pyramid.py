"""Pyramid pooling: a map as the means of a few grids of regions."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def pyramid(x: Float[Tensor, "b c h w"], sizes: Sequence[int]) -> Float[Tensor, "b c tokens"]:
    """The means of 1x1, 3x3, … regions that cover the map, overlapping where they do not divide it."""
    return torch.cat([F.adaptive_avg_pool2d(x, size).flatten(2) for size in sizes], 2)
