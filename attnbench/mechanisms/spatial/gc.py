"""GCNet's global context block: attend once for all positions, and add what was found to each."""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from attnbench.mechanisms.base import Card, Mechanism, Place
from attnbench.mechanisms.layers.segmentation_head import CrissCrossHead, inside


class GC(Mechanism):
    """y = x + g, g = W₂ relu(LN(W₁ Σ a_j x_j)), with weights a = softmax over positions of W_k x.

    `fuse="mul"` weighs instead: y = x sigmoid(g). `pool="avg"` takes the plain mean for a. The last
    convolution starts at 0. Source: xvjiarui/GCNet.
    """

    card = Card(
        title="GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond",
        venue="ICCVW 2019",
        url="https://arxiv.org/abs/1904.11492",
        tasks=("Cls", "Det", "ISeg"),
        g="1x1 convolution -> softmax over positions -> weighted sum -> 1x1 -> LN -> ReLU -> 1x1",
        range=None,
        soft=True,
        goals=("capture long-range dependence", "share one map among all positions"),
        params=lambda c: 2 * c * max(c // 16, 1) + 3 * max(c // 16, 1) + 2 * c + 1,
        site="deep",
        identity=True,
    )

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        pool: Literal["att", "avg"] = "att",
        fuse: Literal["add", "mul"] = "add",
    ) -> None:
        super().__init__()
        self.pool, self.fuse = pool, fuse
        hidden = max(channels // reduction, 1)
        if pool == "att":
            self.mask = nn.Linear(channels, 1)
            nn.init.kaiming_normal_(self.mask.weight)
            nn.init.zeros_(self.mask.bias)
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.norm = nn.LayerNorm([hidden, 1, 1])
        self.expand = nn.Conv2d(hidden, channels, 1)
        for parameter in self.expand.parameters():
            nn.init.zeros_(parameter)

    @classmethod
    def head(cls, place: Place, **options: Any) -> nn.Module:
        """mmsegmentation's for GCNet."""
        return CrissCrossHead(place, cls.at(inside(place), **options))

    def context(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 1 1"]:
        """The mean of all positions, weighted by the mask's softmax."""
        if self.pool == "avg":
            return x.mean((2, 3), keepdim=True)
        values = x.flatten(2)
        weights = (self.mask.weight.expand(x.shape[0], 1, -1) @ values + self.mask.bias).softmax(2)
        return (values @ weights.to(x.dtype).transpose(1, 2))[..., None]

    def attended(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 1 1"]:
        """The same as attention with one query; faster where the channels lie next to each other.

        The softmax cancels the mask's bias, which takes part so that it has its gradient, of zeros.
        """
        tokens = x.flatten(2).transpose(1, 2)[:, None]
        query = (self.mask.weight + 0 * self.mask.bias).to(x.dtype).expand(x.shape[0], 1, 1, -1)
        return scaled_dot_product_attention(query, tokens, tokens, scale=1.0).reshape(*x.shape[:2], 1, 1)

    def transform(self, context: Float[Tensor, "b c 1 1"]) -> Float[Tensor, "b c 1 1"]:
        z = self.expand(self.norm(self.reduce(context)).relu())
        return z if self.fuse == "add" else torch.sigmoid(z)

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 1 1"]:
        return self.transform(self.context(x))

    def f(self, g: Tensor, x: Tensor) -> Tensor:
        """x + g, or x g."""
        return x + g if self.fuse == "add" else x * g

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if self.pool == "avg" or x.is_contiguous():
            return self.f(self.g(x), x)
        return self.f(self.transform(self.attended(x)), x)
