"""Mixed pooling module: add what pyramid pooling and strip pooling have gathered to each position."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism, Place
from attnbench.mechanisms.layers.norm import PooledBatchNorm
from attnbench.mechanisms.layers.segmentation_head import BottleneckHead, inside


class MPM(Mechanism):
    """y = relu(x + BN(W [p, s])), p from average pooling to two coarser maps, s from row and column means.

    Both branches work on c / reduction channels; coarse maps come back by bilinear interpolation between
    aligned corners. `pools` are the sides of the coarse maps; None: the authors' 20 and 12 where the
    map's shorter side is 20 or more, else a half and a quarter of it. The final ReLU stays, also before
    the addition of a shortcut. The authors have two in a head. Source: houqb/SPNet.
    """

    card = Card(
        title="Strip Pooling: Rethinking Spatial Pooling for Scene Parsing",
        venue="CVPR 2020",
        url="https://arxiv.org/abs/2003.13328",
        tasks=("SSeg",),
        g="pyramid average pooling and strip pooling -> convolutions -> concatenation -> 1x1 -> BN",
        range=None,
        soft=True,
        goals=("capture long-range dependence", "capture short-range dependence"),
        params=lambda c: 51 * max(c // 4, 1) ** 2 + 4 * c * max(c // 4, 1) + 18 * max(c // 4, 1) + 2 * c,
        site=("head", "stage"),
    )

    def __init__(self, channels: int, reduction: int = 4, pools: Sequence[int] | None = None) -> None:
        super().__init__()
        self.pools = pools
        hidden = max(channels // reduction, 1)
        self.reduce_pyramid = block(channels, hidden, (1, 1), relu=True)
        self.fine, self.middle, self.coarse = (block(hidden, hidden, (3, 3)) for _ in range(3))
        self.pyramid = block(hidden, hidden, (3, 3), relu=True)
        self.reduce_strips = block(channels, hidden, (1, 1), relu=True)
        self.columns = block(hidden, hidden, (1, 3))
        self.rows = block(hidden, hidden, (3, 1))
        self.strips = block(hidden, hidden, (3, 3), relu=True)
        self.expand = block(2 * hidden, channels, (1, 1))

    @classmethod
    def head(cls, place: Place, **options: Any) -> nn.Module:
        """SPNet's: a 1x1 convolution to half the channels (twice the head's width), two modules, a 3x3."""
        wide = 2 * place.width
        modules = [cls.at(inside(place, wide), **options) for _ in range(2)]
        return BottleneckHead(place, modules, wide, place.width, kernel=1)

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        z = self.reduce_pyramid(x)
        sides = sizes(x.shape[2:]) if self.pools is None else self.pools
        pyramid = self.fine(z)
        for branch, side in zip((self.middle, self.coarse), sides):
            coarse = branch(F.adaptive_avg_pool2d(z, side))
            pyramid = pyramid + F.interpolate(coarse, x.shape[2:], mode="bilinear", align_corners=True)
        z = self.reduce_strips(x)
        strips = self.columns(z.mean(2, keepdim=True)) + self.rows(z.mean(3, keepdim=True))
        branches = self.pyramid(pyramid.relu()), self.strips(strips.relu())
        return self.expand(torch.cat(branches, 1))

    def f(self, g: Tensor, x: Tensor) -> Tensor:
        """relu(x + g)."""
        return (x + g).relu()


def block(inputs: int, outputs: int, kernel: tuple[int, int], relu: bool = False) -> nn.Sequential:
    """A convolution that keeps the map's size, its norm, and a ReLU if asked for."""
    padding = kernel[0] // 2, kernel[1] // 2
    layers = [nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False), PooledBatchNorm(outputs)]
    return nn.Sequential(*layers, *([nn.ReLU()] if relu else []))


def sizes(map_size: Sequence[int]) -> tuple[int, int]:
    """Sides of the two coarse maps that suit a map's size."""
    shorter = min(map_size)
    return (20, 12) if shorter >= 20 else (max(shorter // 2, 1), max(shorter // 4, 1))
