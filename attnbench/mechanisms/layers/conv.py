"""What the mechanisms that stand instead of a convolution have in common."""

from collections.abc import Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import Impossible
from attnbench.mechanisms.base import Mechanism, Place


class Replacement(Mechanism):
    """Stands instead of a convolution and maps as it does; elsewhere, as a 3x3 one that keeps the shape.

    At a site that absorbs them, the norm and the activation behind the convolution go with it.

    The second argument of `__init__` is that convolution, of which only the geometry is used.
    """

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        conv = place.replaces
        if conv is None:
            conv = nn.Conv2d(place.channels, place.channels, 3, padding=1, bias=False, device="meta")
        if not isinstance(conv, nn.Conv2d):
            raise Impossible(f"it stands instead of a convolution, not of a {type(conv).__name__}")
        return cls(place.channels, conv, **options)


def padding(conv: nn.Conv2d) -> tuple[int, int]:
    """Zeros on each side with which a convolution of stride 1 keeps the map's size."""
    (kh, kw), (dh, dw) = conv.kernel_size, conv.dilation
    return dh * (kh // 2), dw * (kw // 2)


def like(
    conv: nn.Conv2d,
    outputs: int | None = None,
    groups: int | None = None,
    bias: bool = False,
    spread: int = 1,
    strided: bool = True,
    inputs: int | None = None,
) -> nn.Conv2d:
    """A fresh convolution (He et al.'s weights) of the same geometry or of the one that is given.

    `spread` is a factor on its dilation; where not `strided`, it keeps the map's size.
    """
    settings: dict[str, Any] = {
        "stride": conv.stride if strided else 1,
        "padding": tuple(spread * around for around in padding(conv)),
        "dilation": tuple(spread * d for d in conv.dilation),
        "groups": groups or conv.groups,
        "bias": bias,
    }
    kernel: Any = conv.kernel_size
    fresh = nn.Conv2d(inputs or conv.in_channels, outputs or conv.out_channels, kernel, **settings)
    nn.init.kaiming_normal_(fresh.weight, mode="fan_out")
    return fresh


def weighted_sum(parts: Sequence[Tensor], weights: Float[Tensor, "b m d 1 1"]) -> Float[Tensor, "b d h w"]:
    """The sum of m maps (b, d, h, w), each times its own weights."""
    y = parts[0] * weights[:, 0]
    for i, part in enumerate(parts[1:], 1):
        y = torch.addcmul(y, part, weights[:, i])
    return y


def mixture(parts: Sequence[Tensor], weights: Float[Tensor, "b m d 1 1"]) -> Float[Tensor, "b d h w"]:
    """`weighted_sum` for weights that sum to one: of two maps in one step instead of two."""
    if len(parts) == 2:
        return torch.lerp(parts[1], parts[0], weights[:, 0])
    return weighted_sum(parts, weights)


class Kernels(nn.Module):
    """Several kernels of one geometry; each image is convolved with its own mixture of them.

    The kernels lie flat, (k, numbers): networks are turned to channels_last, which no five-dimensional
    parameter can follow.
    """

    def __init__(self, conv: nn.Conv2d, count: int) -> None:
        super().__init__()
        self.shape = conv.out_channels, conv.in_channels // conv.groups, *conv.kernel_size
        self.stride, self.padding, self.dilation = conv.stride, padding(conv), conv.dilation
        self.groups = conv.groups
        self.weight = nn.Parameter(torch.empty(count, torch.Size(self.shape).numel()))
        self.bias = nn.Parameter(torch.zeros(count, conv.out_channels)) if conv.bias is not None else None

    def each(self) -> list[Tensor]:
        """The kernels as (outputs, inputs, height, width), to be filled."""
        return [kernel.view(self.shape) for kernel in self.weight.data]

    def forward(self, x: Float[Tensor, "b c h w"], shares: Float[Tensor, "b k"]) -> Float[Tensor, "b d i j"]:
        """All images in one grouped convolution, the images taking the part of groups."""
        if torch.compiler.is_exporting():
            return self.each_mixed(x, shares)
        b, c, h, w = x.shape
        outputs, *rest = self.shape
        weight = (shares @ self.weight).view(b * outputs, *rest)
        bias = None if self.bias is None else (shares @ self.bias).flatten()
        settings = self.stride, self.padding, self.dilation, b * self.groups
        return F.conv2d(x.reshape(1, b * c, h, w), weight, bias, *settings).unflatten(1, (b, outputs))[0]

    def each_mixed(
        self, x: Float[Tensor, "b c h w"], shares: Float[Tensor, "b k"]
    ) -> Float[Tensor, "b d i j"]:
        """The same as a mixture of outputs: in an exported graph a batch of any size cannot be groups."""
        settings = self.stride, self.padding, self.dilation, self.groups
        biases = [None] * len(self.weight) if self.bias is None else self.bias.unbind()
        kernels = zip(self.weight.unbind(), biases)
        parts = [F.conv2d(x, kernel.view(self.shape), bias, *settings) for kernel, bias in kernels]
        return weighted_sum(parts, shares[:, :, None, None, None])
