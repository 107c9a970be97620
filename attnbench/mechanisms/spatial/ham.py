"""Hamburger: rebuild the map from a low-rank factorisation of it, found anew for each image."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import UserError
from attnbench.mechanisms.base import Card, Mechanism, Place
from attnbench.mechanisms.layers.precision import full_precision
from attnbench.mechanisms.layers.segmentation_head import (
    SegmentationHead,
    bottleneck_head,
    classifier,
    inside,
)

GUARD = 1e-6
RIDGE = 0.1  # of the concept decomposition's coefficients
METHODS = ("nmf", "vq", "cd")
VARIANTS = ("v1", "v2", "v2+", "light")


class Ham(Mechanism):
    """relu(x + upper(W H^T)): the lower bread's map X (c, n) as bases W (c, rank) times coefficients H.

    `method`: `nmf`, non-negative factors by multiplicative updates; `vq`, soft vector quantisation; `cd`,
    concept decomposition, the same with ridge regression at the end. W and H are fitted without gradients;
    the last step for H has one. `variant`: `v1` ends with a 1x1 convolution and BN, `v2` with convolution,
    BN, ReLU and a convolution, `v2+` is v2 whose two summands have learned weights, 0 and 1 at the start.
    `light` is Light-Ham's: v1 with group norm, and gradients through all steps; its head (`head`) joins the
    maps of the last three stages.
    `dual`, in v2+, makes two maps: one is rebuilt as above, of the other X^T, whose bases are as long as
    the map has positions.

    Bases start at random. In training each image draws its own; in evaluation, where the original draws
    as well, all images start from the buffer `bases`, drawn with `seed`: outputs can be repeated and do
    not depend on the batch. g is W H^T. The authors train all norms with momentum 3e-4, which belongs
    to their recipe. Source: Gsunshine/Enjoy-Hamburger.
    """

    card = Card(
        title="Is Attention Better Than Matrix Decomposition?",
        venue="ICLR 2021",
        url="https://arxiv.org/abs/2109.04553",
        tasks=("SSeg", "GAN"),
        g="low-rank matrix decomposition of the map",
        range=None,
        soft=True,
        goals=("capture long-range dependencies", "reduce the cost of dense self-attention"),
        params=lambda c: 3 * c * c + 3 * c,
        site=("head", "late"),
    )

    def __init__(
        self,
        channels: int,
        method: Literal["nmf", "vq", "cd"] = "nmf",
        variant: Literal["v1", "v2", "v2+", "light"] = "v2",
        rank: int = 64,
        train_steps: int = 6,
        eval_steps: int = 7,
        seed: int = 0,
        dual: bool = False,
    ) -> None:
        super().__init__()
        if dual and variant != "v2+":
            raise UserError(f"ham: dual belongs to variant=v2+, not to {variant}")
        self.method, self.rank, self.seed, self.dual = method, rank, seed, dual
        self.train_steps, self.eval_steps = train_steps, eval_steps
        self.through = variant == "light"
        plus = variant == "v2+"
        self.shortcut = nn.Parameter(torch.ones(1)) if plus else None
        self.weight = nn.Parameter(torch.zeros(1)) if plus else None
        self.lower = nn.Conv2d(channels, channels * (1 + dual), 1)
        self.upper = upper_bread(channels * (1 + dual), channels, variant)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=(2 / channels) ** 0.5)
        drawn = torch.empty(1, channels, rank)
        self.register_buffer("bases", self.drawn(drawn, torch.Generator().manual_seed(seed)))
        self.bases: Tensor

    @classmethod
    def head(cls, place: Place, **options: Any) -> nn.Module:
        """HamNet's, or Light-Ham's."""
        attention = cls.at(inside(place), **options)
        return LightHead(place, attention) if attention.through else bottleneck_head(place, attention)

    def no_weight_decay(self) -> set[str]:
        return {"weight", "shortcut"} if self.weight is not None else set()

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        z = self.lower(x)
        z = z.relu() if self.method == "nmf" else z
        if not self.dual:
            return self.rebuilt(z.flatten(2)).view(z.shape).to(z.dtype)
        one, other = z.flatten(2).chunk(2, 1)
        parts = self.rebuilt(one), self.rebuilt(other.transpose(1, 2), turned=True).transpose(1, 2)
        return torch.cat(parts, 1).view(z.shape).to(z.dtype)

    def f(self, g: Float[Tensor, "b d h w"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        y = self.upper(g)
        if self.weight is not None and self.shortcut is not None:
            return (self.weight * y + self.shortcut * x).relu().to(x.dtype)
        return (x + y).relu()

    @full_precision
    def rebuilt(self, x: Float[Tensor, "b c n"], turned: bool = False) -> Float[Tensor, "b c n"]:
        """W H^T, with the gradient of the last step for H."""
        steps = self.train_steps if self.training else self.eval_steps
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.through):
            bases = self.start(x, turned)
            if self.method == "nmf":
                bases, shares = factorise(x, bases, steps)
            else:
                bases = quantise(x, bases, steps, unit=self.method == "cd")
        if self.method == "nmf":
            shares = update(shares, x, bases)
        elif self.method == "vq":
            shares = nearness(x / (GUARD + x.detach().norm(dim=1, keepdim=True)), bases)
        else:
            shares = ridge(x, bases)
        return bases @ shares.transpose(1, 2)

    def start(self, x: Float[Tensor, "b c n"], turned: bool = False) -> Float[Tensor, "b c rank"]:
        """The bases before the first step, of length 1; of X^T in evaluation drawn for the map's size."""
        if not self.training:
            bases = self.bases
            if turned:
                drawn = torch.empty(1, x.shape[1], self.rank)
                bases = self.drawn(drawn, torch.Generator().manual_seed(self.seed))
            return bases.to(x).expand(x.shape[0], -1, -1)
        return self.drawn(x.new_empty(*x.shape[:2], self.rank))

    def drawn(self, bases: Float[Tensor, "b c rank"], generator: torch.Generator | None = None) -> Tensor:
        """Random bases of length 1, non-negative for `nmf`."""
        nonnegative = self.method == "nmf"
        bases = bases.uniform_(generator=generator) if nonnegative else bases.normal_(generator=generator)
        return F.normalize(bases, dim=1)


def groups(channels: int) -> nn.GroupNorm:
    """Group norm of 32 groups, or as many as divide the channels."""
    return nn.GroupNorm(math.gcd(32, channels), channels)


class LightHead(SegmentationHead):
    """The last three stages' maps at the largest one's size, 1x1 convolution, attention, 1x1, 1x1."""

    def __init__(self, place: Place, attention: Ham) -> None:
        super().__init__()
        self.enter = light(sum(place.levels[-3:]), place.width)
        self.attention = attention
        self.leave = light(place.width, place.width)
        self.classify = classifier(place.width, place.classes)

    def forward(
        self, x: Float[Tensor, "b c h w"], levels: Sequence[Tensor] = (), coarse: Tensor | None = None
    ) -> Float[Tensor, "b classes i j"]:
        largest = levels[-3:][0].shape[2:]
        same = (F.interpolate(level, largest, mode="bilinear") for level in levels[-3:])
        return self.classify(self.leave(self.attention(self.enter(torch.cat([*same], 1)))))


def light(inputs: int, outputs: int) -> nn.Sequential:
    """1x1 convolution, group norm, ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), groups(outputs), nn.ReLU())


def upper_bread(inputs: int, channels: int, variant: str) -> nn.Sequential:
    """From the rebuilt map to what is added to x."""
    norm = groups(channels) if variant == "light" else nn.BatchNorm2d(channels)
    first = nn.Conv2d(inputs, channels, 1, bias=False), norm
    if variant in ("v1", "light"):
        return nn.Sequential(*first)
    return nn.Sequential(*first, nn.ReLU(), nn.Conv2d(channels, channels, 1, bias=False))


def factorise(
    x: Float[Tensor, "b c n"], bases: Float[Tensor, "b c k"], steps: int
) -> tuple[Float[Tensor, "b c k"], Float[Tensor, "b n k"]]:
    """Bases and shares that multiplicative updates, by turns, make of non-negative x."""
    shares = (x.transpose(1, 2) @ bases).softmax(2)
    for _ in range(steps):
        shares = update(shares, x, bases)
        bases = update(bases, x.transpose(1, 2), shares)
    return bases, shares


def update(one: Tensor, x: Tensor, other: Tensor) -> Tensor:
    """One factor of x^T, (n, k), multiplied so that its product with the other, (c, k), comes nearer."""
    return one * (x.transpose(1, 2) @ other) / (one @ (other.transpose(1, 2) @ other) + GUARD)


def quantise(
    x: Float[Tensor, "b c n"], bases: Float[Tensor, "b c k"], steps: int, unit: bool
) -> Float[Tensor, "b c k"]:
    """Bases as means of the positions near them, by turns with the nearness; of length 1 where `unit`."""
    directions = F.normalize(x, dim=1)
    for _ in range(steps):
        shares = nearness(directions, bases)
        bases = x @ (shares / (GUARD + shares.sum(1, keepdim=True)))
        bases = F.normalize(bases, dim=1, eps=GUARD) if unit else bases
    return bases


def nearness(x: Float[Tensor, "b c n"], bases: Float[Tensor, "b c k"]) -> Float[Tensor, "b n k"]:
    """softmax over bases of the cosine with x, which has length 1, at temperature 1/100."""
    return (100 * x.transpose(1, 2) @ F.normalize(bases, dim=1, eps=GUARD)).softmax(2)


def ridge(x: Float[Tensor, "b c n"], bases: Float[Tensor, "b c k"]) -> Float[Tensor, "b n k"]:
    """x^T W (W^T W + RIDGE I)^-1."""
    gram = bases.transpose(1, 2) @ bases
    eye = torch.eye(gram.shape[1], device=x.device, dtype=x.dtype)
    return (x.transpose(1, 2) @ bases) @ torch.linalg.inv(gram + RIDGE * eye)
