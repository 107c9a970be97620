"""Gather-excite: gate each channel at each position by what was gathered from around it."""

from typing import Any, Literal, Self

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import UserError
from attnbench.mechanisms.base import Card, Mechanism, Place
from attnbench.mechanisms.layers.norm import PooledBatchNorm

VARIANTS = ("minus", "theta", "plus")
EXTENTS = (0, 2, 4, 8)


class GE(Mechanism):
    """g = sigmoid(nearest-neighbour upsampling of what the gather operator makes of x).

    `variant`: `minus` gathers by averages without parameters, `theta` by depth-wise convolutions with BN,
    `plus` adds an MLP after them (ReLU, c to c // reduction, ReLU, back to c). `extent` 0 gathers
    from the whole map; 2, 4, 8 from windows of 2 extent - 1 positions every `extent` (averages leave out
    what lies beyond the border) or by one, two, three 3x3 convolutions of stride 2. The convolution over
    the whole map is as large as the map it was built for, and takes no other; its training needs two
    images a batch. Source: hujie-frank/GENet.
    """

    card = Card(
        title="Gather-Excite: Exploiting Feature Context in Convolutional Neural Networks",
        venue="NeurIPS 2018",
        url="https://arxiv.org/abs/1810.12348",
        tasks=("Cls", "Det"),
        g="gather from a spatial extent by depth-wise convolution -> MLP -> interpolation -> sigmoid",
        range=(0.0, 1.0),
        soft=True,
        goals=("emphasise important channels and positions", "capture long-range dependencies"),
        params=lambda c, h=7, w=5: c * (h * w + 3) + (2 * c + 1) * max(c // 16, 1),  # type: ignore[misc]
        site="residual",
    )

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        variant: Literal["minus", "theta", "plus"] = "plus",
        extent: int = 0,
        reduction: int = 16,
    ) -> None:
        super().__init__()
        if extent not in EXTENTS:
            raise UserError(f"ge: extent={extent}, but it is one of {EXTENTS}, 0 being the whole map")
        self.extent, self.size = extent, tuple(size)
        self.gather = None if variant == "minus" else gathering(channels, extent, self.size)
        self.excite = exciting(channels, max(channels // reduction, 1)) if variant == "plus" else None

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        return cls(place.channels, place.size, **options)

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The gate; of one position, which stands for all, where the extent is the whole map."""
        z = self.gathered(x)
        gate = (z if self.excite is None else self.excite(z)).sigmoid().to(x.dtype)
        return F.interpolate(gate, x.shape[2:]) if self.extent else gate

    def gathered(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c i j"]:
        if self.gather is None:
            e = self.extent
            if e == 0:
                return x.mean((2, 3), keepdim=True)
            return F.avg_pool2d(x, 2 * e - 1, e, e - 1, count_include_pad=False)
        if self.extent == 0 and x.shape[2:] != self.size:
            raise UserError(
                f"ge: it gathers from maps of {self.size[0]}x{self.size[1]} as a whole, not from "
                f"{x.shape[2]}x{x.shape[3]}; take extent=2, 4 or 8 or variant=minus for maps of any size"
            )
        return self.gather(x)


class WholeMap(nn.Conv2d):
    """A depth-wise convolution as large as the map: one dot product a channel."""

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 1 1"]:
        return (input * self.weight[:, 0]).sum((2, 3), keepdim=True)


def gathering(channels: int, extent: int, size: tuple[int, ...]) -> nn.Sequential:
    """Depth-wise convolutions, each with its norm, and ReLU between them."""
    layers: list[nn.Module] = []
    if extent == 0:
        kernel: Any = size
        layers += [
            WholeMap(channels, channels, kernel, groups=channels, bias=False),
            PooledBatchNorm(channels),
        ]
    for i in range(extent.bit_length() - 1):
        conv = nn.Conv2d(channels, channels, 3, 2, 1, groups=channels, bias=False)
        layers += [nn.ReLU()] * (i > 0) + [conv, nn.BatchNorm2d(channels)]
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    return nn.Sequential(*layers)


def exciting(channels: int, hidden: int) -> nn.Sequential:
    """The MLP of the `plus` variant, whose weights start small."""
    layers = nn.Sequential(
        nn.ReLU(), nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1)
    )
    for layer in (layers[1], layers[3]):
        nn.init.normal_(layer.weight, std=0.01)  # type: ignore[arg-type]
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layers
