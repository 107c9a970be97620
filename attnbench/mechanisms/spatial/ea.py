"""External attention: compare positions with two small memories that all images share."""

from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import Impossible
from attnbench.mechanisms.base import Card, Mechanism, Place
from attnbench.mechanisms.layers.precision import full_precision, matched
from attnbench.mechanisms.layers.segmentation_head import bottleneck_head, inside

EXPANSION = 4  # of channels and heads in the multi-head form


class EA(Mechanism):
    """relu(x + BN(W2 Mv a)), a = softmax over positions of Mk (W1 x), then a / sum over the memories.

    The two memories start equal and learn apart, as in the authors' training on GPUs (on CPUs their two
    parameters share storage). forward multiplies W1 into Mk and Mv into W2 first, exact as nothing
    non-linear stands between, so that no position sees a (c, c) product.
    `heads` > 0 is the journal version's form for transformers (there 8): x + W2 (heads of Mv a), where
    W1 makes four times the channels in four times the heads, and all heads share two memories with
    biases; the norm before it and the MLP behind it are the transformer's.
    Source: MenghaoGuo/EANet.
    """

    card = Card(
        title="Beyond Self-attention: External Attention using Two Linear Layers for Visual Tasks",
        venue="TPAMI 2022",
        url="https://arxiv.org/abs/2105.02358",
        tasks=("Cls", "Det", "SSeg", "ISeg"),
        g="dot product with a learned key memory -> softmax over positions -> norm over memories",
        range=(0.0, 1.0),
        soft=True,
        goals=("capture long-range dependencies", "relate images through shared memories"),
        params=lambda c: 2 * c * c + 3 * c + 128 * c,
        site=("head", "late"),
    )

    def __init__(self, channels: int, memories: int = 64, heads: int = 0) -> None:
        super().__init__()
        self.multi = MultiHead(channels, memories, heads) if heads else None
        if heads:
            return
        self.project = nn.Conv2d(channels, channels, 1)
        self.keys = nn.Conv1d(channels, memories, 1, bias=False)
        self.values = nn.Conv1d(memories, channels, 1, bias=False)
        self.expand = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        for layer in (self.project, self.values, self.expand):
            nn.init.normal_(layer.weight, std=(2 / channels) ** 0.5)
        self.keys.weight.data.copy_(self.values.weight.data.transpose(0, 1))

    @classmethod
    def head(cls, place: Place, **options: Any) -> nn.Module:
        """EANet's, which is EMANet's."""
        return bottleneck_head(place, cls.at(inside(place), **options))

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b *heads k n"]:
        if self.multi is not None:
            return self.multi.attention(x)
        return shares(self.keys(self.project(x).flatten(2)))

    def f(self, g: Float[Tensor, "b *heads k n"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if self.multi is not None:
            return x + self.multi.gathered(g.to(x.dtype)).transpose(1, 2).unflatten(2, x.shape[2:]).to(
                x.dtype
            )
        y = self.expand(self.values(matched(g, self.values)).unflatten(2, x.shape[2:]))
        return (x + self.norm(y)).relu()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if self.multi is not None:
            return self.f(self.g(x), x)
        keys, values = self.keys.weight[..., 0], self.values.weight[..., 0]
        folded = (keys @ self.project.weight.flatten(1))[..., None, None]
        bias = keys @ self.project.bias  # type: ignore[operator]
        g = shares(F.conv2d(x, folded, bias).flatten(2))
        words = (self.expand.weight.flatten(1) @ values)[..., None, None]
        return (x + self.norm(F.conv2d(g.to(x.dtype).unflatten(2, x.shape[2:]), words))).relu()


class MultiHead(nn.Module):
    """Heads of an expanded map, which all compare themselves with the same two memories."""

    def __init__(self, channels: int, memories: int, heads: int) -> None:
        super().__init__()
        if channels % heads:
            raise Impossible(f"ea: {channels} channels do not divide into {heads} heads")
        self.heads = EXPANSION * heads
        self.expand = nn.Linear(channels, EXPANSION * channels)
        self.keys = nn.Linear(channels // heads, memories)
        self.values = nn.Linear(memories, channels // heads)
        self.project = nn.Linear(EXPANSION * channels, channels)

    def attention(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b heads k n"]:
        tokens = self.expand(x.flatten(2).transpose(1, 2)).unflatten(2, (self.heads, -1))
        return shares(self.keys(tokens).permute(0, 2, 3, 1))

    def gathered(self, shares: Float[Tensor, "b heads k n"]) -> Float[Tensor, "b n c"]:
        return self.project(self.values(shares.permute(0, 3, 1, 2)).flatten(2))


@full_precision
def shares(scores: Float[Tensor, "b *heads k n"]) -> Float[Tensor, "b *heads k n"]:
    """Softmax over positions, then shares of 1 over the memories."""
    a = scores.softmax(-1)
    return a / (1e-9 + a.sum(-2, keepdim=True))
