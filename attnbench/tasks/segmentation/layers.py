"""What the decoders are built of."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class ConvNormReLU(nn.Module):
    """Convolution that keeps the map's size, BN, ReLU. A decoder's levels it passes by."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, dilation: int = 1) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()

    def forward(self, x: Float[Tensor, "b c h w"], levels: Any = None) -> Float[Tensor, "b d h w"]:
        return self.relu(self.norm(self.conv(x)))


def resize(x: Float[Tensor, "b c h w"], size: Sequence[int]) -> Float[Tensor, "b c i j"]:
    """Bilinear, the corners aligned, as the heads' authors have it (mmsegmentation has not)."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=True)


def width(channels: int) -> int:
    """Channels of a head on a map: a quarter, 512 of 2048; of narrow maps 64, or as many as there are."""
    return max(channels // 4, min(channels, 64))
