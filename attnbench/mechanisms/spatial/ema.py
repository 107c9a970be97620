"""EMANet: rebuild the map from a few bases that expectation-maximisation fits to it."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import UserError
from attnbench.mechanisms.base import Card, Mechanism, Place
from attnbench.mechanisms.layers.precision import full_precision
from attnbench.mechanisms.layers.recompute import backward_pass
from attnbench.mechanisms.layers.segmentation_head import bottleneck_head, inside

GUARD = 1e-6


class EMA(Mechanism):
    """relu(x + BN(W2 relu(mu z))), z = softmax_bases(x' · mu), x' = W1 x, after `stages` rounds of fitting.

    A round shares positions out among the bases (z), then makes each basis the mean of its positions,
    of length 1. The rounds start from the buffer `bases`, which every training pass moves towards the
    batch's mean bases with `momentum`; evaluation uses it as it is. The authors fit without gradients up
    to the rebuilt map, so W1 never learns. g is z. Norms of the authors' network have momentum 3e-4, which
    belongs to their recipe. Source: XiaLiPKU/EMANet.
    """

    card = Card(
        title="Expectation-Maximization Attention Networks for Semantic Segmentation",
        venue="ICCV 2019",
        url="https://arxiv.org/abs/1907.13426",
        tasks=("SSeg",),
        g="dot product between positions and bases fitted by expectation-maximisation -> softmax over bases",
        range=(0.0, 1.0),
        soft=True,
        goals=("capture long-range dependencies", "reduce the cost of dense self-attention"),
        params=lambda c: 2 * c * c + 3 * c,
        site=("head", "late"),
    )
    untrained = frozenset({"project.weight", "project.bias"})
    last_pass = ("moved",)

    def __init__(self, channels: int, bases: int = 64, stages: int = 3, momentum: float = 0.9) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, channels, 1)
        self.expand = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        for layer in (self.project, self.expand):
            nn.init.normal_(layer.weight, std=(2 / channels) ** 0.5)
        self.register_buffer("bases", F.normalize(torch.randn(1, channels, bases), dim=1))
        self.stages, self.momentum = stages, momentum
        self.bases: Tensor
        self.moved: tuple[Tensor, Tensor] | None = None  # bases before the last pass, its mean

    @classmethod
    def head(cls, place: Place, **options: Any) -> nn.Module:
        """EMANet's."""
        return bottleneck_head(place, cls.at(inside(place), **options))

    @torch.no_grad()
    def projected(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c n"]:
        return self.project(x).flatten(2)

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n k"]:
        return fit(self.projected(x), self.bases, self.stages)

    def f(self, g: Float[Tensor, "b n k"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return self.rebuild(means(self.projected(x), g), g, x)

    def rebuild(self, bases: Float[Tensor, "b c k"], g: Float[Tensor, "b n k"], x: Tensor) -> Tensor:
        rebuilt = (bases @ g.transpose(1, 2)).relu().unflatten(2, x.shape[2:]).detach()
        return (x + self.norm(self.expand(rebuilt.to(x.dtype)))).relu()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        again = self.training and backward_pass() >= 0
        start = self.moved[0] if again and self.moved is not None else self.bases
        projected = self.projected(x)
        shares = fit(projected, start, self.stages)
        bases = means(projected, shares)
        if self.training:
            self.move(bases.mean(0, keepdim=True).to(self.bases.dtype), again)
        return self.rebuild(bases, shares, x)

    def move(self, mean: Float[Tensor, "1 c k"], again: bool) -> None:
        """Move the bases towards the batch's mean bases; not by a pass that checkpointing runs again."""
        if not again:
            self.moved = self.bases, mean
            self.bases = self.bases.lerp(mean, 1 - self.momentum)
        elif self.moved is None or not torch.allclose(self.moved[1], mean, rtol=1e-3, atol=1e-3):
            raise UserError(
                "ema: gradient checkpointing ran a pass again after a later one had moved the bases: "
                "run backward after each forward pass"
            )


@torch.no_grad()
@full_precision
def fit(x: Float[Tensor, "b c n"], bases: Float[Tensor, "1 c k"], stages: int) -> Float[Tensor, "b n k"]:
    """Each position's shares of the bases in the last of the rounds."""
    bases = bases.to(x.dtype).expand(x.shape[0], -1, -1)
    for stage in range(stages):
        shares = (x.transpose(1, 2) @ bases).softmax(2)
        if stage < stages - 1:
            bases = means(x, shares)
    return shares


@torch.no_grad()
@full_precision
def means(x: Float[Tensor, "b c n"], shares: Float[Tensor, "b n k"]) -> Float[Tensor, "b c k"]:
    """The bases, of length 1, that the shares make of the positions."""
    bases = x @ (shares / (GUARD + shares.sum(1, keepdim=True)))
    return bases / (GUARD + bases.norm(dim=1, keepdim=True))
