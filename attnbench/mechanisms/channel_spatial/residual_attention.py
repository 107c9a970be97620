"""Residual attention: weigh each entry by a mask branch that looks at the map coarse to fine."""

from typing import Any, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism, Place

FINEST = 7  # side of the map at the bottom of the authors' mask branches


class ResidualAttention(Mechanism):
    """y = x (1 + g), g = sigmoid(W2 relu(BN(W1 relu(BN(up(... unit(pool(x)) ...)))))): an hourglass of units.

    A unit is a pre-activation bottleneck. Each pooling (3x3, stride 2, the last window cut off at the
    border) is undone by bilinear interpolation to its partner's size, between aligned corners, and on
    equal sizes maps are added, one of them through a unit of its own. `poolings` of 3, 2 and 1 are the
    authors' modules for maps of 56, 28 and 14; None takes the number that leaves about 7 positions, at
    least one, when the place is known, else 1. With `trunk` it is the authors' whole module: a unit before
    it, two more for what the mask weighs, one behind. Source: fwang91/residual-attention-network.
    """

    card = Card(
        title="Residual Attention Network for Image Classification",
        venue="CVPR 2017",
        url="https://arxiv.org/abs/1704.06904",
        tasks=("Cls",),
        g="top-down network -> bottom-up network -> 1x1 convolutions -> sigmoid",
        range=(0.0, 1.0),
        soft=True,
        goals=("gather global information", "combine maps of several scales"),
        params=lambda c: (
            2 * c * c
            + 4 * c
            + 2 * (2 * c * max(c // 4, 1) + 9 * max(c // 4, 1) ** 2)
            + 2 * (2 * c + 4 * max(c // 4, 1))
        ),
        site="stage",
    )

    def __init__(self, channels: int, poolings: int | None = None, trunk: bool = False) -> None:
        super().__init__()
        self.before = Unit(channels) if trunk else nn.Identity()
        self.trunk = nn.Sequential(Unit(channels), Unit(channels)) if trunk else nn.Identity()
        self.hourglass = Hourglass(channels, poolings or 1)
        self.mask = nn.Sequential(*activated(channels, channels, 1), *activated(channels, channels, 1))
        self.behind = Unit(channels) if trunk else nn.Identity()

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        poolings = options.pop("poolings", None) or fitting(min(place.size))
        return cls(place.channels, poolings, **options)

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return torch.sigmoid(self.mask(self.hourglass(self.before(x))))

    def f(self, g: Tensor, x: Tensor) -> Tensor:
        """x (1 + g), or that of the trunk's map."""
        return self.behind(self.trunk(self.before(x)) * (1 + g))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        x = self.before(x)
        mask = torch.sigmoid(self.mask(self.hourglass(x)))
        return self.behind(self.trunk(x) * (1 + mask))


class Hourglass(nn.Module):
    """Pool, look closer, come back: one level, which holds the next."""

    def __init__(self, channels: int, poolings: int) -> None:
        super().__init__()
        self.down = Unit(channels)
        self.inner = Hourglass(channels, poolings - 1) if poolings > 1 else None
        self.skip = Unit(channels) if poolings > 1 else None
        self.up = Unit(channels)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        window = [min(3, n) for n in x.shape[2:]]
        z = self.down(F.max_pool2d(x, window, 2, ceil_mode=True))
        if self.inner is not None and self.skip is not None:
            z = self.inner(z) + self.skip(z)
        return F.interpolate(self.up(z), x.shape[2:], mode="bilinear", align_corners=True)


class Unit(nn.Module):
    """Norm, ReLU and convolution, three times: 1x1 to a quarter of the width, 3x3, 1x1; added to the input.

    Where width or size change, the shortcut is a 1x1 convolution of the first norm's ReLU.
    """

    def __init__(self, inputs: int, outputs: int | None = None, stride: int = 1) -> None:
        super().__init__()
        outputs = outputs or inputs
        hidden = max(outputs // 4, 1)
        self.norm, self.relu, self.reduce = activated(inputs, hidden, 1)
        self.spread = nn.Sequential(*activated(hidden, hidden, 3, stride))
        self.expand = nn.Sequential(*activated(hidden, outputs, 1))
        changed = inputs != outputs or stride > 1
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changed else None

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        z = self.relu(self.norm(x))
        branch = self.expand(self.spread(self.reduce(z)))
        return branch + (x if self.shortcut is None else self.shortcut(z))


def activated(inputs: int, outputs: int, kernel: int, stride: int = 1) -> tuple[nn.Module, ...]:
    """A norm, a ReLU, and a convolution without bias that keeps the map's size but for its stride."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.BatchNorm2d(inputs), nn.ReLU(), conv


def fitting(side: int) -> int:
    """Poolings, 1 to 3, after which a map's side is nearest to the authors' 7."""
    halvings = [abs(side / 2**n / FINEST - 1) for n in (1, 2, 3)]
    return 1 + halvings.index(min(halvings))
