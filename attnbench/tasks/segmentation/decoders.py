"""Decoders that read the encoder's last map: a plain head, and controls with pooled or dilated context.

All end alike: their body makes a map, dropout and a 1x1 convolution make the logits of it.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import UserError
from attnbench.tasks.segmentation.layers import ConvNormReLU, resize, width

BINS = (1, 2, 3, 6)
RATES = {8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}  # of ASPP, by output stride; 32 continues the rule


class Head(nn.Module):
    """From the maps of the encoder's stages to logits; a site `head` is after the body.

    The attribute `place` of a module tells what stands there what a map alone cannot; only the plain head
    has one, as a mechanism's own head may stand instead of that head alone.
    """

    def __init__(self, body: nn.Module, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.guided = False  # a mechanism's head may ask for the auxiliary head's logits
        body.place = {"classes": classes}  # type: ignore[assignment]
        self.body = body
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, classes, 1)

    def forward(
        self, x: Float[Tensor, "b c h w"], levels: Sequence[Tensor] = (), coarse: Any = None
    ) -> Float[Tensor, "b classes i j"]:
        return self.classifier(self.dropout(self.body(x, levels)))


class PyramidPooling(nn.Module):
    """PSPNet's body: means over 1, 4, 9 and 36 regions, each through a 1x1 convolution, beside the map.

    Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(ConvNormReLU(channels, outputs, 1) for _ in BINS)
        self.fuse = ConvNormReLU(channels + len(BINS) * outputs, outputs)

    def forward(self, x: Float[Tensor, "b c h w"], levels: Any = None) -> Float[Tensor, "b d h w"]:
        if self.training and len(x) == 1:
            raise UserError(
                "decoder=psp normalises pooled maps: train with at least 2 images a batch and device"
            )
        pooled = (branch(F.adaptive_avg_pool2d(x, side)) for side, branch in zip(BINS, self.branches))
        return self.fuse(torch.cat([x, *(resize(p, x.shape[2:]) for p in pooled)], 1))


class AtrousPooling(nn.Module):
    """DeepLabV3's body: a 1x1 and three dilated 3x3 convolutions and the map's mean side by side.

    Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017; with the 3x3
    convolution that torchvision's network has before its classifier.
    """

    def __init__(self, channels: int, outputs: int, rates: Sequence[int]) -> None:
        super().__init__()
        dilated = (ConvNormReLU(channels, outputs, 3, rate) for rate in rates)
        self.branches = nn.ModuleList([ConvNormReLU(channels, outputs, 1), *dilated])
        self.mean = ConvNormReLU(channels, outputs, 1)
        self.project = ConvNormReLU(5 * outputs, outputs, 1)
        self.fuse = ConvNormReLU(outputs, outputs)

    def forward(self, x: Float[Tensor, "b c h w"], levels: Any = None) -> Float[Tensor, "b d h w"]:
        if self.training and len(x) == 1:
            raise UserError("decoder=aspp normalises the map's mean: train with at least 2 images a batch")
        mean = self.mean(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        return self.fuse(self.project(torch.cat([*(branch(x) for branch in self.branches), mean], 1)))


def plain(channels: Sequence[int], classes: int, outputs: int, dropout: float, stride: int) -> Head:
    """A 3x3 convolution from the last map; `channels` are those of the maps of all stages."""
    outputs = outputs or width(channels[-1])
    head = Head(ConvNormReLU(channels[-1], outputs), outputs, classes, dropout)
    head.place = {"width": outputs, "levels": tuple(channels), "classes": classes}  # type: ignore[assignment]
    return head


def pyramid(channels: Sequence[int], classes: int, outputs: int, dropout: float, stride: int) -> Head:
    """PSPNet's decoder."""
    outputs = outputs or width(channels[-1])
    return Head(PyramidPooling(channels[-1], outputs), outputs, classes, dropout)


def atrous(channels: Sequence[int], classes: int, outputs: int, dropout: float, stride: int) -> Head:
    """DeepLabV3's decoder, half as wide as the others."""
    outputs = outputs or max(width(channels[-1]) // 2, 1)
    return Head(AtrousPooling(channels[-1], outputs, RATES[stride]), outputs, classes, dropout)
