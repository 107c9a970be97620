"""Concurrent spatial and channel squeeze and excitation: weigh by channel and by position, side by side."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism

FUSIONS = ("max", "add", "multiply", "channel", "spatial")


class ScSE(Mechanism):
    """y = max(x s, x q) element by element: s = sigmoid(MLP(GAP(x))) a channel, q = sigmoid(w x) a position.

    The maximum is that of the products: where x is negative the smaller gate wins. `fuse="max"` is the
    released code; the papers also add or multiply the two products' gates, and each gate stands alone as
    `channel` (cSE) or `spatial` (sSE). With `add` the sum of both gates goes up to 2.
    Source: ai-med/squeeze_and_excitation.
    """

    card = Card(
        title="Recalibrating Fully Convolutional Networks with Spatial and Channel Squeeze and Excitation",
        venue="TMI 2018",
        url="https://arxiv.org/abs/1808.08127",
        tasks=("SSeg",),
        g="global average pooling -> MLP -> sigmoid, and 1x1 convolution -> sigmoid -> maximum",
        range=(0.0, 1.0),
        soft=True,
        goals=("emphasise important channels", "emphasise important positions"),
        params=lambda c: 2 * c * max(c // 2, 1) + max(c // 2, 1) + c + c + 1,
        site="stage",
    )

    def __init__(
        self,
        channels: int,
        reduction: int = 2,
        fuse: Literal["max", "add", "multiply", "channel", "spatial"] = "max",
    ) -> None:
        super().__init__()
        self.fuse = fuse
        hidden = max(channels // reduction, 1)
        if fuse != "spatial":
            self.reduce = nn.Linear(channels, hidden)
            self.expand = nn.Linear(hidden, channels)
        if fuse != "channel":
            self.score = nn.Conv2d(channels, 1, 1)

    def channel(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 1 1"]:
        z = self.reduce(x.mean((2, 3))).relu()
        return torch.sigmoid(self.expand(z))[:, :, None, None]

    def spatial(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
        return torch.sigmoid(self.score(x))

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if self.fuse == "channel":
            return self.channel(x)
        if self.fuse == "spatial":
            return self.spatial(x)
        s, q = self.channel(x), self.spatial(x)
        if self.fuse == "add":
            return s + q
        if self.fuse == "multiply":
            return s * q
        return torch.where(x >= 0, torch.maximum(s, q), torch.minimum(s, q))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if self.fuse != "max":
            return self.f(self.g(x), x)
        return torch.maximum(x * self.channel(x), x * self.spatial(x))
