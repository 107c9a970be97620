"""Convolutional Block Attention Module: weigh channels, then positions, each by averages and maxima."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism
from attnbench.mechanisms.layers.plane_conv import PlaneConv2d


class CBAM(Mechanism):
    """x₁ = x sigmoid(MLP(mean) + MLP(max)) of the map; y = x₁ sigmoid(BN(conv[max, mean])) of channels.

    The kernel is 7, the maximum comes first, and nothing is added to the product. `half=True`, as the
    released ResNets are initialised, starts the spatial norm's weight at 0, hence its gate at 1/2;
    `half=False` is the bare module. Source: Jongchan/attention-module.
    """

    card = Card(
        title="CBAM: Convolutional Block Attention Module",
        venue="ECCV 2018",
        url="https://arxiv.org/abs/1807.06521",
        tasks=("Cls", "Det"),
        g="average and max pooling -> MLP -> sigmoid; then over channels -> 7x7 convolution -> BN -> sigmoid",
        range=(0.0, 1.0),
        soft=True,
        goals=("emphasise important channels", "emphasise important positions"),
        params=lambda c: 2 * c * max(c // 16, 1) + max(c // 16, 1) + c + 100,
        site="residual",
    )

    def __init__(self, channels: int, reduction: int = 16, kernel: int = 7, half: bool = True) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.reduce = nn.Linear(channels, hidden)
        self.expand = nn.Linear(hidden, channels)
        self.conv = PlaneConv2d(2, kernel)
        self.norm = nn.BatchNorm2d(1, momentum=0.01)
        if half:
            nn.init.zeros_(self.norm.weight)

    def channel(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 1 1"]:
        """The gate of the channels; both poolings go through the MLP as one batch."""
        rows = x.flatten(2)
        pooled = torch.stack((rows.mean(2), rows.max(2).values))
        z = self.expand(self.reduce(pooled).relu()).sum(0)
        return torch.sigmoid(z)[:, :, None, None]

    def spatial(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
        """The gate of the positions, of a map whose channels are weighed."""
        pooled = torch.stack((x.max(1).values, x.mean(1)), 1)
        return torch.sigmoid(self.norm(self.conv(pooled)))

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        channel = self.channel(x)
        return channel * self.spatial(channel * x)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        x = self.channel(x) * x
        return self.spatial(x) * x
