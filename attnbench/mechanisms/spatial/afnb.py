"""Asymmetric fusion non-local block: a high-level map attends to the means of a lower-level one."""

from collections.abc import Sequence
from typing import Any, Self
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import Impossible, UserError
from attnbench.mechanisms.base import Card, Mechanism, Place
from attnbench.mechanisms.layers.attention import pyramid
from attnbench.mechanisms.layers.segmentation_head import (
    ConvNormReLU,
    SegmentationHead,
    classifier,
    inside,
    layer,
)
from attnbench.mechanisms.spatial.apnb import APNB, carried, likeness


class AFNB(Mechanism):
    """dropout(BN(W_f [W_c (A v), x])), A = softmax(q · k / sqrt(d)), q from x, k and v from a lower level.

    q = relu(BN(W x)), k = relu(BN(W' low)), v = W_v low; k and v are pooled to 1, 9, 36 and 64 means, so
    that low may have any size. Unlike APNB's, q and k have weights of their own, and no ReLU ends the
    block. W_c starts at zero. The lower level is the map that arrived at the place before, in the
    same pass, as the authors' block after stage 4 takes stage 3's; at the first place, and in a module on
    its own, it is x. `head` is that of the authors' network, in which APNB follows. Source: MendelXu/ANN.
    """

    card = Card(
        title="Asymmetric Non-local Neural Networks for Semantic Segmentation",
        venue="ICCV 2019",
        url="https://arxiv.org/abs/1908.07678",
        tasks=("SSeg",),
        g="dot product between queries and a lower level's keys pooled by a pyramid -> softmax",
        range=(0.0, 1.0),
        soft=True,
        goals=("fuse levels of features", "capture long-range dependencies"),
        params=lambda c: (lambda k: 4 * c * k + 7 * k + 2 * c * c + 4 * c)(max(c // 8, 1)),
        site=("head", "stage"),
    )
    last_pass = ("seen", "given")

    def __init__(
        self,
        channels: int,
        lower: "AFNB | int | None",
        reduction: int = 8,
        sizes: tuple[int, ...] = (1, 3, 6, 8),
        dropout: float = 0.05,
    ) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        low = lower.channels if isinstance(lower, AFNB) else lower or channels
        self.channels: int = channels
        self.sizes = tuple(sizes)
        self.key = ConvNormReLU(low, hidden)
        self.query = ConvNormReLU(channels, hidden)
        self.value = nn.Conv2d(low, hidden, 1)
        self.context = nn.Conv2d(hidden, channels, 1)
        self.fuse = nn.Conv2d(2 * channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout2d(dropout)
        nn.init.zeros_(self.context.weight)
        nn.init.zeros_(self.context.bias)  # type: ignore[arg-type]
        self.lower = (lower,) if isinstance(lower, AFNB) else ()  # a tuple, as it is no part of this module
        self.asked = False
        self.given: Tensor | None = None
        self.seen: Tensor | None = None
        if isinstance(lower, AFNB):
            lower.asked = True

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        """Its lower level is what was built last for a place of the same network."""
        if place.model is None:
            return cls(place.channels, None, **options)
        module = cls(place.channels, LAST.get(place.model), **options)
        LAST[place.model] = module
        return module

    @classmethod
    def head(cls, place: Place, **options: Any) -> nn.Module:
        """The asymmetric non-local network's: the last two stages' maps, 3x3 convolution, APNB, 1x1."""
        if len(place.levels) < 2:
            raise Impossible("it fuses the maps of two stages, and the encoder has one")
        return Head(place, cls(place.channels, place.levels[-2], **options), options)

    def low(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """The lower level's map of this pass."""
        if self.given is not None:
            return self.given
        if not self.lower:
            return x
        if self.lower[0].seen is None:
            raise UserError(
                "afnb: the place before, whose map is the lower level, has not run in this pass; gradient "
                "checkpointing has to take both places together"
            )
        return self.lower[0].seen

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n tokens"]:
        return likeness(self.query(x).flatten(2), pyramid(self.key(self.low(x)), self.sizes))

    def f(self, g: Float[Tensor, "b n tokens"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        values = pyramid(self.value(self.low(x)), self.sizes)
        context = self.context((values @ g.to(values.dtype).transpose(1, 2)).unflatten(2, x.shape[2:]))
        return self.dropout(self.norm(self.fuse(torch.cat([context, x], 1))))

    def forward(
        self, x: Float[Tensor, "b c h w"], low: Float[Tensor, "b d i j"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        self.given = low
        y = self.attended(x)
        self.given = None
        if self.lower:
            self.lower[0].seen = None
        self.seen = x if self.asked else None
        return y

    def attended(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """f(g(x), x), on wide maps with v, W_c and W_f's half for the context on the tokens."""
        g = self.g(x)
        if x.shape[1] < g.shape[2]:
            return self.f(g, x)
        of_context, of_x = self.fuse.weight.chunk(2, 1)
        tokens = carried(pyramid(self.low(x), self.sizes), self.value, self.context, of_context)
        context = (tokens @ g.to(tokens.dtype).transpose(1, 2)).view(x.shape)
        return self.dropout(self.norm(F.conv2d(x, of_x, self.fuse.bias) + context))


class Head(SegmentationHead):
    """AFNB on the last two stages' maps, 3x3 convolution, APNB, 1x1."""

    def __init__(self, place: Place, fusion: AFNB, options: dict[str, Any]) -> None:
        super().__init__()
        self.fusion = fusion
        self.enter = layer(place.channels, place.width, bias=True)
        narrower = {**options, "reduction": 2}  # as many hidden channels as AFNB's: half of the head's width
        self.attention = APNB.at(inside(place), **narrower)
        self.classify = classifier(place.width, place.classes, dropout=0.0)

    def forward(
        self, x: Float[Tensor, "b c h w"], levels: Sequence[Tensor] = (), coarse: Tensor | None = None
    ) -> Float[Tensor, "b classes h w"]:
        return self.classify(self.attention(self.enter(self.fusion(x, levels[-2]))))


LAST: WeakKeyDictionary[nn.Module, AFNB] = WeakKeyDictionary()
