"""Object-contextual representations: each position attends to the soft regions of the image's objects."""

from collections.abc import Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import UserError
from attnbench.mechanisms.base import Card, Mechanism, Place
from attnbench.mechanisms.layers.losses import label_loss
from attnbench.mechanisms.layers.precision import full_precision
from attnbench.mechanisms.layers.segmentation_head import (
    ConvNormReLU,
    SegmentationHead,
    classifier,
    inside,
    layer,
)


class OCR(Mechanism):
    """dropout(relu(BN(W [up(A v), x]))), A = softmax over regions of (q · k / sqrt(d)).

    A region's representation is the mean of x under softmax over positions of the coarse prediction: a 1x1
    convolution of x or, in OCRNet's head (`head`), what the auxiliary head predicts. k and v come from the
    regions, q from x, all by 1x1 convolutions with BN and ReLU, and so does `up`. `classes` > 0 makes one
    region a class and adds `weight` times the coarse prediction's own cross-entropy: over positions where
    targets are label maps, of its mean over positions where they are an image's class. 0, the default, is
    the number of classes where a segmentation network tells it; elsewhere the `regions` are free then.
    forward applies the convolution of `up` to v on the regions, exact since it stands before the norm.
    Source: openseg-group/openseg.pytorch (HRNet's port has no biases).
    """

    card = Card(
        title="Object-Contextual Representations for Semantic Segmentation",
        venue="ECCV 2020",
        url="https://arxiv.org/abs/1909.11065",
        tasks=("SSeg",),
        g="dot product between positions and representations of coarse regions -> softmax over regions",
        range=(0.0, 1.0),
        soft=True,
        goals=("relate positions to the objects they belong to", "capture long-range dependencies"),
        params=lambda c: (lambda k: 19 * c + 19 + 4 * c * k + 2 * k * k + 15 * k + 2 * c * c + 6 * c)(
            max(c // 2, 1)
        ),
        site=("head", "late"),
    )
    last_pass = ("logits",)

    def __init__(
        self,
        channels: int,
        regions: int = 19,
        classes: int = 0,
        reduction: int = 2,
        weight: float = 0.4,
        dropout: float = 0.05,
        bias: bool = True,
    ) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.coarse = nn.Conv2d(channels, classes or regions, 1)
        self.query, self.key = (
            nn.Sequential(ConvNormReLU(channels, hidden, bias), ConvNormReLU(hidden, hidden, bias))
            for _ in range(2)
        )
        self.value = ConvNormReLU(channels, hidden, bias)
        self.up = ConvNormReLU(hidden, channels, bias)
        self.fuse = ConvNormReLU(2 * channels, channels, bias)
        self.dropout = nn.Dropout2d(dropout)
        self.supervised, self.weight = classes > 0, weight
        self.logits: Tensor | None = None

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        return cls(place.channels, **{**options, "classes": options.get("classes") or place.classes})

    @classmethod
    def head(cls, place: Place, **options: Any) -> nn.Module:
        """OCRNet's: the soft regions are the auxiliary head's prediction, which has its own loss."""
        attention = cls.at(inside(place), **options)
        attention.coarse, attention.supervised = None, False  # type: ignore[assignment]
        return Head(place, attention, options.get("bias", True))

    def objects(self, x: Float[Tensor, "b c h w"], coarse: Tensor) -> Float[Tensor, "b c regions 1"]:
        """The regions' representations."""
        shares = coarse.flatten(2).softmax(2).to(x.dtype)
        return (x.flatten(2) @ shares.transpose(1, 2))[..., None]

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n regions"]:
        return self.likeness(x, self.objects(x, self.coarse(x)))

    def likeness(self, x: Tensor, objects: Float[Tensor, "b c regions 1"]) -> Float[Tensor, "b n regions"]:
        return likeness(self.query(x).flatten(2), self.key(objects).flatten(2))

    def f(self, g: Float[Tensor, "b n regions"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        values = self.value(self.objects(x, self.coarse(x))).flatten(2)
        context = self.up((values @ g.to(values.dtype).transpose(1, 2)).unflatten(2, x.shape[2:]))
        return self.dropout(self.fuse(torch.cat([context, x], 1)))

    def forward(
        self, x: Float[Tensor, "b c h w"], coarse: Float[Tensor, "b k h w"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        coarse = self.coarse(x) if coarse is None else coarse
        self.logits = coarse if self.supervised and self.training else None
        objects = self.objects(x, coarse)
        g = self.likeness(x, objects).to(x.dtype)
        values = self.up.conv(self.value(objects)).flatten(2)
        context = self.up.finish((values @ g.transpose(1, 2)).view(x.shape))
        return self.dropout(self.fuse(torch.cat([context, x], 1)))

    def loss(self, targets: Tensor) -> Tensor | None:
        """Cross-entropy of the last training pass' coarse prediction; unknown labels are ignored."""
        if self.logits is None:
            return None
        return self.weight * coarse_loss(self.logits, targets)


class Head(SegmentationHead):
    """3x3 convolution, attention to the regions that come in, 1x1."""

    guided = True

    def __init__(self, place: Place, attention: OCR, bias: bool) -> None:
        super().__init__()
        self.enter = layer(place.channels, place.width, bias=bias)
        self.attention = attention
        self.classify = classifier(place.width, place.classes, dropout=0.0)

    def forward(
        self, x: Float[Tensor, "b c h w"], levels: Sequence[Tensor] = (), coarse: Tensor | None = None
    ) -> Float[Tensor, "b classes h w"]:
        if coarse is None:
            raise UserError(
                "ocr: its regions are the auxiliary head's: task.options.auxiliary must be above 0"
            )
        y = self.enter(x)
        regions = F.interpolate(coarse, y.shape[2:], mode="bilinear", align_corners=True)
        return self.classify(self.attention(y, regions))


@full_precision
def likeness(q: Float[Tensor, "b d n"], k: Float[Tensor, "b d m"]) -> Float[Tensor, "b n m"]:
    """softmax(q · k / sqrt(d)) over the regions."""
    return (q.transpose(1, 2) @ (k * q.shape[1] ** -0.5)).softmax(2)


@full_precision
def coarse_loss(logits: Float[Tensor, "b k h w"], targets: Tensor) -> Tensor:
    """For label maps at their own size; for an image's class, or soft labels, of the mean over positions."""
    if targets.is_floating_point():
        if targets.shape[1] != logits.shape[1]:
            raise UserError(f"ocr: classes={logits.shape[1]}, but the targets have {targets.shape[1]}")
        return F.cross_entropy(logits.mean((2, 3)), targets)
    return label_loss(logits, targets)
