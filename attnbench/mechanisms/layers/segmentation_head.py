"""Segmentation heads as papers build them around a mechanism: from the maps of an encoder to logits.

Each is called as `Mechanism.head` says. Convolutions before norms have no bias and dropout takes whole
channels, unless a paper's code has it otherwise; `place.width` is 512 where the last map has 2048 channels.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Mechanism, Place


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
    """The place within the head at which the mechanism stands, `place.width` channels wide unless told."""
    return replace(place, channels=channels or place.width, replaces=None)


class Surrounded(nn.Module):
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


class Narrowing(nn.Module):
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


def narrowing(place: Place, attention: Mechanism) -> Narrowing:
    """EMANet's head, which Hamburger and external attention have, too: 512 channels, then 256."""
    return Narrowing(place, [attention], place.width, max(place.width // 2, 1))
