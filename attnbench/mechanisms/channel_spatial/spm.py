"""Strip pooling module: weigh each entry by the means of the row and of the column that it lies in."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism
from attnbench.mechanisms.layers.norm import PooledBatchNorm


class SPM(Mechanism):
    """g = sigmoid(W relu(v + u)): v = BN(conv 3x1(row means)), u = BN(conv 1x3(column means)), broadcast.

    The authors put it into bottlenecks, before their last convolution: into every block of the last
    stage, and into the last block of the others. Source: houqb/SPNet.
    """

    card = Card(
        title="Strip Pooling: Rethinking Spatial Pooling for Scene Parsing",
        venue="CVPR 2020",
        url="https://arxiv.org/abs/2003.13328",
        tasks=("SSeg",),
        g="average pooling of rows and columns -> 1d convolutions -> BN -> sum -> ReLU -> 1x1 -> sigmoid",
        range=(0.0, 1.0),
        soft=True,
        goals=("capture long-range dependence along rows and columns",),
        params=lambda c: 7 * c * c + 5 * c,
        site="bottleneck",
    )

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rows = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0), bias=False)
        self.rows_norm = PooledBatchNorm(channels)
        self.columns = nn.Conv2d(channels, channels, (1, 3), padding=(0, 1), bias=False)
        self.columns_norm = PooledBatchNorm(channels)
        self.expand = nn.Conv2d(channels, channels, 1)

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        rows = self.rows_norm(self.rows(x.mean(3, keepdim=True)))
        columns = self.columns_norm(self.columns(x.mean(2, keepdim=True)))
        return torch.sigmoid(self.expand((rows + columns).relu()))
