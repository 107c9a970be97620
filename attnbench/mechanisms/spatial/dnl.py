"""Disentangled non-local: a whitened likeness of pairs, and apart from it each position's own weight."""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism, Place
from attnbench.mechanisms.layers.attention import attend
from attnbench.mechanisms.layers.precision import full_precision
from attnbench.mechanisms.layers.segmentation_head import CrissCrossHead, inside
from attnbench.mechanisms.layers.sizes import known

CENTRES = {"official": (2,), "nowd": (1, 2)}  # axes of (b, d, n) that q and k are centred over
MANY = 512  # positions, from which on P is not worth writing down


class DNL(Mechanism):
    """x + gamma P v + u v: P = softmax(q' · k' / (sqrt(d) T)) over positions, u = softmax(w · x), v = W x.

    q', k' without their mean over the map, c // reduction wide; T is `temperature` (the authors' 0.05 for
    Cityscapes and detection, 0.1 elsewhere); u is the same for all positions. gamma starts at zero: only
    the unary term stands at the start. g has P's rows, and u as the last. forward centres q alone, as the
    mean of k adds the same to all scores of a query, and on large maps never makes P.
    `variant="nowd"` is the authors' second one: one mean for all channels of q, and one of k, neither root
    nor T in the scores, and no weight decay on what makes q and k.
    Source: yinmh17/DNL-Semantic-Segmentation.
    """

    card = Card(
        title="Disentangled Non-local Neural Networks",
        venue="ECCV 2020",
        url="https://arxiv.org/abs/2006.06668",
        tasks=("SSeg", "Det", "ISeg", "Action"),
        g="dot product between whitened query and key -> softmax, and 1x1 convolution -> softmax",
        range=(0.0, 1.0),
        soft=True,
        goals=("capture long-range dependencies", "learn pairwise and unary terms apart"),
        params=lambda c: 2 * (c + 1) * max(c // 2, 1) + c * c + c + 2,
        site=("head", "late"),
    )

    def __init__(
        self,
        channels: int,
        reduction: int = 2,
        temperature: float = 0.05,
        variant: Literal["official", "nowd"] = "official",
    ) -> None:
        super().__init__()
        self.centre = CENTRES[variant]
        hidden = max(channels // reduction, 1)
        self.query = nn.Conv2d(channels, hidden, 1)
        self.key = nn.Conv2d(channels, hidden, 1)
        self.value = nn.Conv2d(channels, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(1))
        self.unary = nn.Conv2d(channels, 1, 1)
        for layer in (self.query, self.key, self.value, self.unary):
            nn.init.normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        self.scale = hidden**-0.5 / temperature if variant == "official" else 1.0
        self.spared = () if variant == "official" else ("query", "key")

    @classmethod
    def head(cls, place: Place, **options: Any) -> nn.Module:
        """Between two 3x3 convolutions, as in CCNet."""
        return CrissCrossHead(place, cls.at(inside(place), **options))

    def no_weight_decay(self) -> set[str]:
        return {name for name, _ in self.named_parameters() if name.startswith(self.spared)}

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n+1 n"]:
        pairs = likeness(self.query(x).flatten(2), self.key(x).flatten(2), self.scale, self.centre)
        return torch.cat([pairs, self.unary(x).flatten(2).softmax(2).to(pairs.dtype)], 1)

    def f(self, g: Float[Tensor, "b n+1 n"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        value = self.value(x).flatten(2)
        terms = value @ g.transpose(1, 2).to(value.dtype)
        return self.added(x, terms[..., :-1], terms[..., -1:])

    def added(
        self, x: Float[Tensor, "b c h w"], pairwise: Float[Tensor, "b c n"], unary: Float[Tensor, "b c 1"]
    ) -> Float[Tensor, "b c h w"]:
        return (x + (self.gamma * pairwise + unary).unflatten(2, x.shape[2:])).to(x.dtype)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if known(*x.shape[2:]) and x.shape[2] * x.shape[3] < MANY:
            return self.f(self.g(x), x)
        query, key, value = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        pairwise = attend(query - query.mean(self.centre, keepdim=True), key, value, self.scale)
        weights = self.unary(x).flatten(2).softmax(2)
        return self.added(x, pairwise, value @ weights.transpose(1, 2).to(value.dtype))


@full_precision
def likeness(
    q: Float[Tensor, "b d n"], k: Float[Tensor, "b d n"], scale: float, centre: tuple[int, ...]
) -> Float[Tensor, "b n n"]:
    """softmax(scale q' · k') over the keys, both without their means over those axes."""
    q, k = (t - t.mean(centre, keepdim=True) for t in (q, k))
    return (q.transpose(1, 2) @ k * scale).softmax(2)
