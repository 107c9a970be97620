"""Triplet attention: three gates, each from two of the axes channel, height and width."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism
from attnbench.mechanisms.layers.norm import PooledBatchNorm
from attnbench.mechanisms.layers.plane_conv import PlaneConv2d


class Triplet(Mechanism):
    """g = (g_cw + g_ch + g_hw) / 3, each sigmoid(BN(conv 7x7 [max, mean])), pooled over the third axis.

    The channels are convolved as if their order meant something: neighbours share a kernel. The input is
    pooled along each axis where it lies; only the small pooled maps are turned round. `spatial=False`
    leaves g_hw out. No ReLU follows the norm. Source: landskape-ai/triplet-attention.
    """

    card = Card(
        title="Rotate to Attend: Convolutional Triplet Attention Module",
        venue="WACV 2021",
        url="https://arxiv.org/abs/2010.03045",
        tasks=("Cls", "Det"),
        g="average and max pooling along each axis -> 7x7 convolution -> BN -> sigmoid -> mean",
        range=(0.0, 1.0),
        soft=True,
        goals=("let channels and positions interact", "few parameters"),
        params=lambda c: 300,
        site="residual",
    )

    def __init__(self, channels: int, kernel: int = 7, spatial: bool = True) -> None:
        super().__init__()
        self.channel_width = gate(kernel)
        self.height_channel = gate(kernel)
        self.height_width = gate(kernel) if spatial else None

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        count = 2 if self.height_width is None else 3
        of_cw = self.channel_width(pooled(x, 2))[:, 0, :, None, :] / count
        of_hc = self.height_channel(pooled(x, 3).transpose(2, 3))[:, 0].transpose(1, 2)[..., None] / count
        both = of_cw + of_hc
        return both if self.height_width is None else both + self.height_width(pooled(x, 1)) / count


def gate(kernel: int) -> nn.Sequential:
    """(b, 2, p, q), largest and mean values, to a gate (b, 1, p, q)."""
    return nn.Sequential(PlaneConv2d(2, kernel), PooledBatchNorm(1, momentum=0.01), nn.Sigmoid())


def pooled(x: Float[Tensor, "b c h w"], axis: int) -> Float[Tensor, "b 2 p q"]:
    """Largest and mean values along an axis of x."""
    return torch.stack((x.max(axis).values, x.mean(axis)), 1)
