"""Coordinate attention: weigh rows and columns by pooling along each axis alone."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import hardswish

from attnbench.mechanisms.base import Card, Mechanism


class Coord(Mechanism):
    """g = sigmoid(W_h a_h) sigmoid(W_w a_w), where [a_h, a_w] = hswish(BN(W [row means, column means])).

    Convolutions have biases; the hidden width is max(c / 32, 8). The authors put it into MobileNetV2's
    blocks behind the depth-wise convolution, before the projection. Source: Andrew-Qibin/CoordAttention.
    """

    card = Card(
        title="Coordinate Attention for Efficient Mobile Network Design",
        venue="CVPR 2021",
        url="https://arxiv.org/abs/2103.02907",
        tasks=("Cls", "Det", "SSeg"),
        g="average pooling along each axis -> shared 1x1 convolution -> BN -> hswish -> 1x1 each -> sigmoid",
        range=(0.0, 1.0),
        soft=True,
        goals=("emphasise important channels", "keep positions while pooling"),
        params=lambda c: 3 * c * max(c // 32, 8) + 3 * max(c // 32, 8) + 2 * c,
        site="depthwise",
    )

    def __init__(self, channels: int, reduction: int = 32) -> None:
        super().__init__()
        hidden = max(channels // reduction, 8)
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.norm = nn.BatchNorm2d(hidden)
        self.rows = nn.Conv2d(hidden, channels, 1)
        self.columns = nn.Conv2d(hidden, channels, 1)

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        strips = torch.cat((x.mean(3, keepdim=True), x.mean(2)[..., None]), 2)  # b c h+w 1
        rows, columns = hardswish(self.norm(self.reduce(strips))).split(x.shape[2:], 2)
        return torch.sigmoid(self.rows(rows)) * torch.sigmoid(self.columns(columns)).transpose(2, 3)
