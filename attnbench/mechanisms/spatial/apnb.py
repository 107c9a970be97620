"""Asymmetric pyramid non-local block: each position attends to the means of a few regions."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism
from attnbench.mechanisms.layers.attention import pyramid
from attnbench.mechanisms.layers.precision import full_precision
from attnbench.mechanisms.layers.segmentation_head import ConvNormReLU


class APNB(Mechanism):
    """dropout(relu(BN(W_f [W_c (A v), x]))), A = softmax(q · k / sqrt(d)) over the pooled tokens.

    q = relu(BN(W x)), k the same map pooled to 1, 9, 36 and 64 means, v = W_v x pooled alike. W_c starts
    at zero: the context, not the fusion, is nothing at first. A's rows and all means add up to one,
    so on wide maps forward takes v, W_c and its half of W_f on the 110 tokens instead of all positions,
    which is exact.
    Source: MendelXu/ANN.
    """

    card = Card(
        title="Asymmetric Non-local Neural Networks for Semantic Segmentation",
        venue="ICCV 2019",
        url="https://arxiv.org/abs/1908.07678",
        tasks=("SSeg",),
        g="dot product between queries and keys pooled by a pyramid -> softmax",
        range=(0.0, 1.0),
        soft=True,
        goals=("capture long-range dependencies", "reduce the cost of dense self-attention"),
        params=lambda c: (lambda k: 3 * c * k + 4 * k + c + 2 * c * c + 3 * c)(max(c // 2, 1)),
        site=("head", "late"),
    )

    def __init__(
        self,
        channels: int,
        reduction: int = 2,
        sizes: tuple[int, ...] = (1, 3, 6, 8),
        dropout: float = 0.05,
    ) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.compare = ConvNormReLU(channels, hidden)
        self.value = nn.Conv2d(channels, hidden, 1)
        self.context = nn.Conv2d(hidden, channels, 1)
        self.fuse = ConvNormReLU(2 * channels, channels)
        self.dropout = nn.Dropout2d(dropout)
        self.sizes = tuple(sizes)
        nn.init.zeros_(self.context.weight)
        nn.init.zeros_(self.context.bias)  # type: ignore[arg-type]

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n tokens"]:
        compared = self.compare(x)
        return likeness(compared.flatten(2), pyramid(compared, self.sizes))

    def f(self, g: Float[Tensor, "b n tokens"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        values = pyramid(self.value(x), self.sizes)
        context = self.context((values @ g.to(values.dtype).transpose(1, 2)).unflatten(2, x.shape[2:]))
        return self.dropout(self.fuse(torch.cat([context, x], 1)))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        g = self.g(x)
        if x.shape[1] < g.shape[2]:  # so few channels that to take them on the tokens is more work
            return self.f(g, x)
        of_context, of_x = self.fuse.conv.weight.chunk(2, 1)
        tokens = carried(pyramid(x, self.sizes), self.value, self.context, of_context)
        context = (tokens @ g.to(tokens.dtype).transpose(1, 2)).view(x.shape)
        return self.dropout(self.fuse.finish(F.conv2d(x, of_x, self.fuse.conv.bias) + context))


@full_precision
def likeness(q: Float[Tensor, "b d n"], k: Float[Tensor, "b d m"]) -> Float[Tensor, "b n m"]:
    """softmax(q · k / sqrt(d)) over the keys."""
    return (q.transpose(1, 2) @ (k * q.shape[1] ** -0.5)).softmax(2)


def carried(
    means: Float[Tensor, "b c tokens"], value: nn.Conv2d, context: nn.Conv2d, of_context: Tensor
) -> Float[Tensor, "b d tokens"]:
    """Means through the layers that positions would otherwise pass after them, and a part of the fusion."""
    tokens = means.transpose(1, 2)
    for layer in (value, context):
        tokens = F.linear(tokens, layer.weight.flatten(1), layer.bias)
    return F.linear(tokens, of_context.flatten(1)).transpose(1, 2)
