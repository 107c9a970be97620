"""Efficient multi-scale attention: groups of channels weigh positions by two branches that look across."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism


class EMAMultiScale(Mechanism):
    """g = sigmoid(softmax(GAP a) b + softmax(GAP b) a), one map for each group of channels.

    The groups go through the branches like images of a batch. Branch a is x gated by rows and columns, as
    in coordinate attention, behind a group norm of one channel a group; branch b is a 3x3 convolution.
    Where `groups` does not divide the channels their greatest common divisor serves, and of fewer channels
    than groups at least two make a group.
    Source: YOLOonMe/EMA-attention-module.
    """

    card = Card(
        title="Efficient Multi-Scale Attention Module with Cross-Spatial Learning",
        venue="ICASSP 2023",
        url="https://arxiv.org/abs/2305.13563",
        tasks=("Cls", "Det"),
        g="grouped: row and column pooling -> 1x1 -> sigmoid -> GN, and 3x3; each pooled -> softmax -> times"
        " the other -> sigmoid",
        range=(0.0, 1.0),
        soft=True,
        goals=("emphasise important positions", "gather several scales"),
        params=lambda c: 10 * (c // divisor(32, c)) ** 2 + 4 * (c // divisor(32, c)),
        site="residual",
    )

    def __init__(self, channels: int, groups: int = 32) -> None:
        super().__init__()
        self.groups = divisor(groups, channels)
        width = channels // self.groups
        self.reduce = nn.Conv2d(width, width, 1)
        self.norm = nn.GroupNorm(width, width)
        self.local = nn.Conv2d(width, width, 3, padding=1)

    def crossed(self, x: Float[Tensor, "n d h w"]) -> Float[Tensor, "n d h w"]:
        """The normalised product of x with its row and column gates."""
        strips = torch.cat((x.mean(3, keepdim=True), x.mean(2)[..., None]), 2)
        rows, columns = self.reduce(strips).sigmoid().split(x.shape[2:], 2)
        return self.norm(x * rows * columns.transpose(2, 3))

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n 1 h w"]:
        grouped = x.reshape(-1, x.shape[1] // self.groups, *x.shape[2:])
        a, b = self.crossed(grouped), self.local(grouped)
        scores = torch.bmm(shares(a), b.flatten(2)) + torch.bmm(shares(b), a.flatten(2))
        return torch.sigmoid(scores).reshape(x.shape[0], self.groups, 1, *x.shape[2:])

    def f(self, g: Tensor, x: Tensor) -> Tensor:
        """Weigh the channels of each group by the group's map."""
        return (x.unflatten(1, (self.groups, -1)) * g).flatten(1, 2)


def shares(x: Float[Tensor, "n d h w"]) -> Float[Tensor, "n 1 d"]:
    """The softmax over channels of their means."""
    return x.mean((2, 3)).softmax(1)[:, None]


def divisor(groups: int, channels: int) -> int:
    """How many groups, if not as many as asked for, the channels are parted into."""
    return math.gcd(groups, channels if channels >= groups else max(channels // 2, 1))
