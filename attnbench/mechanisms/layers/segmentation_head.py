"""Segmentation heads as papers build them around a mechanism: from the maps of an encoder to logits.

Each is called as `Mechanism.head` says. Convolutions before norms have no bias and dropout takes whole
channels, unless a paper's code has it otherwise; `place.width` is 512 where the last map has 2048 channels.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Mechanism, Place


class ConvNormReLU(nn.Module):
    """1x1 convolution, BN, ReLU."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=bias)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        return self.finish(self.conv(x))

    def finish(self, y: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        """What follows the convolution."""
        return self.norm(y).relu()


def layer(
    inputs: int, outputs: int, kernel: int = 3, bias: bool = False, slope: float = 0.0
) -> nn.Sequential:
    """Convolution that keeps the map's size, BN, ReLU or, with a slope for numbers below 0, leaky ReLU."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.LeakyReLU(slope) if slope else nn.ReLU())


def classifier(channels: int, classes: int, dropout: float = 0.1) -> nn.Sequential:
    """Dropout and the 1x1 convolution to logits."""
    return nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(channels, classes, 1))


def inside(place: Place, channels: int = 0) -> Place:
    """The place within the head at which the mechanism stands, `place.width` channels wide by default."""
    return replace(place, channels=channels or place.width, replaces=None)


class SegmentationHead(nn.Module):
    """`head(x, levels, coarse)`: the last map (b c h w), the maps of all stages -> logits (b classes h w)."""

    guided: ClassVar[bool] = False  # whether it needs `coarse`, the auxiliary head's logits


class CrissCrossHead(SegmentationHead):
    """3x3 convolution, attention, 3x3, then a 3x3 on that beside the encoder's map: CCNet's arrangement.

    mmsegmentation has the same for non-local networks, GCNet and DNL.
    """

    def __init__(self, place: Place, attention: nn.Module, slope: float = 0.0) -> None:
        super().__init__()
        self.enter = layer(place.channels, place.width, slope=slope)
        self.attention = attention
        self.leave = layer(place.width, place.width, slope=slope)
        self.fuse = layer(place.channels + place.width, place.width, slope=slope)
        self.classify = classifier(place.width, place.classes)

    def forward(
        self, x: Float[Tensor, "b c h w"], levels: Sequence[Tensor] = (), coarse: Tensor | None = None
    ) -> Float[Tensor, "b classes h w"]:
        attended = self.leave(self.attention(self.enter(x)))
        return self.classify(self.fuse(torch.cat([x, attended], 1)))


class BottleneckHead(SegmentationHead):
    """Convolution, one attention after the other, 3x3 convolution to a narrower map: EMANet's arrangement."""

    def __init__(
        self, place: Place, attention: Sequence[Mechanism], wide: int, narrow: int, kernel: int = 3
    ) -> None:
        super().__init__()
        self.enter = layer(place.channels, wide, kernel)
        self.attention = nn.Sequential(*attention)
        self.leave = layer(wide, narrow)
        self.classify = classifier(narrow, place.classes)

    def forward(
        self, x: Float[Tensor, "b c h w"], levels: Sequence[Tensor] = (), coarse: Tensor | None = None
    ) -> Float[Tensor, "b classes h w"]:
        return self.classify(self.leave(self.attention(self.enter(x))))


def bottleneck_head(place: Place, attention: Mechanism) -> BottleneckHead:
    """EMANet's head, which Hamburger and external attention have, too: 512 channels, then 256."""
    return BottleneckHead(place, [attention], place.width, max(place.width // 2, 1))
