"""Bottleneck Attention Module: one map from a channel branch and a dilated spatial branch."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism
from attnbench.mechanisms.layers.norm import PooledBatchNorm


class BAM(Mechanism):
    """y = x (1 + g), g = sigmoid(channel branch · spatial branch), the branches broadcast over each other.

    `fuse="product"` is the released code; the paper adds the branches: `fuse="sum"`. The released code
    pools with a square kernel and takes square maps only; here any map is pooled whole.
    Source: Jongchan/attention-module.
    """

    card = Card(
        title="BAM: Bottleneck Attention Module",
        venue="BMVC 2018",
        url="https://arxiv.org/abs/1807.06514",
        tasks=("Cls", "Det"),
        g="global average pooling -> MLP, and dilated 3x3 convolutions -> product -> sigmoid",
        range=(0.0, 1.0),
        soft=True,
        goals=("emphasise important channels", "emphasise important positions", "widen the receptive field"),
        params=lambda c: parameters(c, max(c // 16, 1)),
        site="between",
    )

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        dilation: int = 4,
        fuse: Literal["product", "sum"] = "product",
    ) -> None:
        super().__init__()
        self.fuse = fuse
        hidden = max(channels // reduction, 1)
        self.reduce = nn.Linear(channels, hidden)
        self.norm = PooledBatchNorm(hidden)
        self.expand = nn.Linear(hidden, channels)
        layers = [nn.Conv2d(channels, hidden, 1)]
        layers += [nn.Conv2d(hidden, hidden, 3, padding=dilation, dilation=dilation) for _ in range(2)]
        blocks = [layer for conv in layers for layer in (conv, nn.BatchNorm2d(hidden), nn.ReLU())]
        self.spatial = nn.Sequential(*blocks, nn.Conv2d(hidden, 1, 1))

    def channel(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 1 1"]:
        """The channel branch, before the sigmoid."""
        z = self.norm(self.reduce(x.mean((2, 3)))[:, :, None, None]).relu()
        return self.expand(z.flatten(1))[:, :, None, None]

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        channel, spatial = self.channel(x), self.spatial(x)
        return torch.sigmoid(channel * spatial if self.fuse == "product" else channel + spatial)

    def f(self, g: Tensor, x: Tensor) -> Tensor:
        """x (1 + g)."""
        return x * (1 + g)


def parameters(c: int, d: int) -> int:
    """Learnable parameters at c channels and d hidden units."""
    channel = c * d + d + 2 * d + d * c + c
    spatial = c * d + 3 * d + 2 * (9 * d * d + 3 * d) + d + 1
    return channel + spatial
