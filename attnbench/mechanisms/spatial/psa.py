"""PSANet: every position predicts how much it takes from, and gives to, each position around it."""

from collections.abc import Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import UserError
from attnbench.mechanisms.base import Card, Mechanism, Place
from attnbench.mechanisms.layers.precision import full_precision
from attnbench.mechanisms.layers.segmentation_head import ConvNormReLU, SegmentationHead, classifier, layer


class PSA(Mechanism):
    """x + up(W [collect(x), distribute(x)]), both on a map that is `shrink` times smaller.

    From each position p of the small map two 1x1 convolutions predict a mask around p: t_pq says what lies
    at offset q - p. Collecting, p gets sum_q softmax_q(t_pq) z_q; distributing, q gets
    sum_p softmax_p(t_pq) z_p. Masks are over-completed, large enough for any pair of positions of the map
    they are built for, or `mask` x `mask`; a pair that they do not reach has t = 0, and so its share in
    the softmax. The authors' head (`head`) concatenates the outcome with x; elsewhere, for the shape's
    sake, it is added. g holds both maps. Source: hszhao/semseg.
    """

    card = Card(
        title="PSANet: Point-wise Spatial Attention Network for Scene Parsing",
        venue="ECCV 2018",
        url="https://hszhao.github.io/projects/psanet",
        tasks=("SSeg",),
        g="1x1 convolutions predict each position's mask over all others -> softmax, in both directions",
        range=(0.0, 1.0),
        soft=True,
        goals=("capture long-range dependencies", "let information flow in both directions"),
        params=lambda c, h=7, w=5: (  # type: ignore[misc]
            lambda m, mask: 4 * c * m + 2 * m * m + 8 * m + 2 * m * mask + 2 * c
        )(max(c // 4, 1), (2 * ((h + 1) // 2) - 1) * (2 * ((w + 1) // 2) - 1)),
        site=("head", "late"),
    )

    def __init__(
        self, channels: int, size: tuple[int, int], mask: int = 0, shrink: int = 2, reduction: int = 4
    ) -> None:
        super().__init__()
        if mask and mask % 2 == 0:
            raise UserError(f"psa: mask={mask}, but a mask around a position has an odd size, or 0 for all")
        hidden = max(channels // reduction, 1)
        self.shrink = shrink
        h, w = self.small(size)
        self.mask = (mask or 2 * h - 1, mask or 2 * w - 1)
        area = self.mask[0] * self.mask[1]
        self.collect, self.distribute = (Branch(channels, hidden, area) for _ in range(2))
        self.project = ConvNormReLU(2 * hidden, channels, bias=False)

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        return cls(place.channels, place.size, **options)

    @classmethod
    def head(cls, place: Place, **options: Any) -> nn.Module:
        """PSANet's: on the encoder's map itself, before the 3x3 convolution."""
        return Head(place, cls.at(place, **options))

    def small(self, size: Any) -> tuple[int, int]:
        """Height and width of the map that is attended to."""
        h, w = ((n - 1) // self.shrink + 1 for n in size)
        return h, w

    def parts(self, x: Float[Tensor, "b c h w"]) -> list[tuple[Tensor, Tensor]]:
        """For each branch, what is passed on (b d p) and the map of pairs, receiver first (b p p)."""
        size = self.small(x.shape[2:])
        found = []
        for branch, receiver in ((self.collect, 2), (self.distribute, 1)):
            z = F.interpolate(branch.reduce(x), size, mode="bilinear", align_corners=True)
            shares = paired(branch.masks(z), self.mask, size, receiver)
            found.append((z.flatten(2), shares if receiver == 2 else shares.transpose(1, 2)))
        return found

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 2 p p"]:
        return torch.stack([shares for _, shares in self.parts(x)], 1)

    def f(self, g: Float[Tensor, "b 2 p p"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return self.joined([(z, own) for (z, _), own in zip(self.parts(x), g.unbind(1))], x)

    def joined(self, parts: list[tuple[Tensor, Tensor]], x: Float[Tensor, "b c h w"]) -> Tensor:
        """x plus both outcomes."""
        return x + self.both(parts, x)

    def both(self, parts: list[tuple[Tensor, Tensor]], x: Float[Tensor, "b c h w"]) -> Tensor:
        """Both outcomes side by side, projected, at the map's size."""
        moved = torch.cat([z @ shares.to(z.dtype).transpose(1, 2) for z, shares in parts], 1)
        y = self.project(moved.unflatten(2, self.small(x.shape[2:])))
        return F.interpolate(y, x.shape[2:], mode="bilinear", align_corners=True).to(x.dtype)

    def forward(self, x: Float[Tensor, "b c h w"], beside: bool = False) -> Float[Tensor, "b c h w"]:
        """x plus both outcomes; `beside`: the outcomes alone, for what puts x beside them."""
        return (self.both if beside else self.joined)(self.parts(x), x)


class Head(SegmentationHead):
    """The outcome beside the encoder's map, a 3x3 convolution of both, dropout, 1x1."""

    def __init__(self, place: Place, attention: PSA) -> None:
        super().__init__()
        self.attention = attention
        self.fuse = layer(2 * place.channels, place.width)
        self.classify = classifier(place.width, place.classes)

    def forward(
        self, x: Float[Tensor, "b c h w"], levels: Sequence[Tensor] = (), coarse: Tensor | None = None
    ) -> Float[Tensor, "b classes h w"]:
        return self.classify(self.fuse(torch.cat([x, self.attention(x, beside=True)], 1)))


class Branch(nn.Module):
    """One direction's layers: a narrower map, and each position's mask."""

    def __init__(self, channels: int, hidden: int, area: int) -> None:
        super().__init__()
        self.reduce = ConvNormReLU(channels, hidden, bias=False)
        self.adapt = ConvNormReLU(hidden, hidden, bias=False)
        self.predict = nn.Linear(hidden, area, bias=False)

    def masks(self, z: Float[Tensor, "b d h w"]) -> Float[Tensor, "b p area"]:
        return self.predict(self.adapt(z).flatten(2).transpose(1, 2))


@full_precision
def paired(
    masks: Float[Tensor, "b p area"], mask: tuple[int, int], size: tuple[int, int], axis: int
) -> Float[Tensor, "b p p"]:
    """softmax over an axis of t_pq, which is read out of the masks as they lie in memory.

    In masks of 2 h - 1 by 2 w - 1, a step of p moves the window of all q back by one: as strides.
    """
    (h, w), (rows, columns) = size, (2 * size[0] - 1, 2 * size[1] - 1)
    up, left = (rows - mask[0]) // 2, (columns - mask[1]) // 2
    if up or left:
        masks = F.pad(masks.unflatten(2, mask), (left, left, up, up))
    masks = masks.contiguous()
    area = rows * columns
    steps = (h * w * area, w * area - columns, area - 1, columns, 1)
    pairs = masks.as_strided((masks.shape[0], h, w, h, w), steps, (h - 1) * columns + w - 1)
    return pairs.reshape(masks.shape[0], h * w, h * w).softmax(axis)
