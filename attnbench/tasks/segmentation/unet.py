"""U-Net's decoder: from the coarsest map up, each finer map of the encoder joins by a skip connection.

Ronneberger, Fischer and Brox, "U-Net", MICCAI 2015; with padded convolutions, norms, and bilinear
interpolation in place of transposed convolutions.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import Impossible
from attnbench.tasks.segmentation.decoders import Head
from attnbench.tasks.segmentation.layers import ConvNormReLU, resize


class Skip(nn.Module):
    """A skip connection: what stands after it is handed the decoder's coarser map, too, if it is gated."""

    def __init__(self, signal: int) -> None:
        super().__init__()
        self.place = {"signal": signal}

    def forward(
        self, x: Float[Tensor, "b c h w"], signal: Float[Tensor, "b s i j"]
    ) -> Float[Tensor, "b c h w"]:
        return x


class Up(nn.Module):
    """The coarser map at the skip connection's size, beside it, through two 3x3 convolutions."""

    def __init__(self, coarse: int, skip: int) -> None:
        super().__init__()
        self.skip = Skip(coarse)
        self.fuse = nn.Sequential(ConvNormReLU(coarse + skip, skip), ConvNormReLU(skip, skip))

    def forward(
        self, x: Float[Tensor, "b s i j"], skip: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b c h w"]:
        kept = self.skip(skip, x)
        return self.fuse(torch.cat([kept, resize(x, kept.shape[2:])], 1))


class Ascent(nn.Module):
    """All steps up; `up.0` is the last, to the finest map."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.up = nn.ModuleList(Up(coarse, fine) for fine, coarse in pairwise(channels))

    def forward(self, x: Float[Tensor, "b c h w"], levels: Sequence[Tensor]) -> Float[Tensor, "b d i j"]:
        for step, level in zip(reversed(self.up), reversed(levels[:-1])):
            x = step(x, level)
        return x


def unet(channels: Sequence[int], classes: int, outputs: int, dropout: float, stride: int) -> Head:
    """U-Net's decoder, as wide as the encoder's maps."""
    if len(channels) < 2:
        raise Impossible("a U-Net needs maps of two sizes at least")
    return Head(Ascent(channels), channels[0], classes, dropout)
