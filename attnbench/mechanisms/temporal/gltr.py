"""GLTR: short-term context by dilated convolutions in time, then self-attention among the frames."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card
from attnbench.mechanisms.layers.clip_head import ClipHead
from attnbench.mechanisms.layers.precision import full_precision


class GLTR(ClipHead):
    """y = mean over frames of p + BN(W (A g(p))), A = softmax over frames of θ(p) φ(p), without a scale.

    p = [z, conv_1 z, conv_2 z, conv_3 z] on the frames' vectors z = V GAP(x) + b of `width` numbers; the
    convolutions have three taps, these dilations, no bias and nothing behind them. The released code has
    dilations 1, 2, 3; the paper's text powers of two, `dilations=(1, 2, 4)`. The last norm starts from
    zeros, so that y starts as the mean of p. The classifier is the code's: BN, ReLU, dropout, linear.
    That the frames' network is trained first, and alone, is left out. Source: kanei1024/GLTR.
    """

    card = Card(
        title="Global-Local Temporal Representations For Video Person Re-Identification",
        venue="ICCV 2019",
        url="https://arxiv.org/abs/1908.10049",
        tasks=("ReID",),
        g="dilated 1-D convolutions -> self-attention over time",
        range=(0.0, 1.0),
        soft=True,
        goals=("exploit multi-scale short-term context", "capture long-term temporal dependency"),
        params=lambda c: 128 * c + 128 + 674_048 + 2 * 512 + 513 * 10,
        site="head",
    )

    def __init__(
        self,
        channels: int,
        classes: int,
        width: int = 128,
        dilations: tuple[int, ...] = (1, 2, 3),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        total = width * (1 + len(dilations))
        inner = max(total // 2, 1)
        self.reduce = nn.Linear(channels, width)
        self.pyramid = nn.ModuleList(
            nn.Conv1d(width, width, 3, padding=d, dilation=d, bias=False) for d in dilations
        )
        self.theta = nn.Conv1d(total, inner, 1)
        self.phi = nn.Conv1d(total, inner, 1)
        self.value = nn.Conv1d(total, inner, 1)
        self.out = nn.Conv1d(inner, total, 1)
        self.norm = nn.BatchNorm1d(total)
        self.classify = nn.Sequential(
            nn.BatchNorm1d(total), nn.ReLU(), nn.Dropout(dropout), nn.Linear(total, classes)
        )
        nn.init.zeros_(self.norm.weight)
        for weight in self.pyramid.parameters():
            nn.init.normal_(weight, std=0.001)

    def context(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d t"]:
        """The frames' vectors beside their neighbourhoods."""
        z = self.reduce(x.mean((3, 4))).transpose(1, 2)
        return torch.cat([z, *(convolution(z) for convolution in self.pyramid)], 1)

    def likeness(self, context: Float[Tensor, "b d t"]) -> Float[Tensor, "b t t"]:
        return likeness(self.theta(context), self.phi(context))

    def gather(self, g: Float[Tensor, "b t t"], context: Float[Tensor, "b d t"]) -> Float[Tensor, "b d"]:
        values = self.value(context) @ g.to(context.dtype).transpose(1, 2)
        return (context + self.norm(self.out(values))).mean(2)

    def g(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t t"]:
        return self.likeness(self.context(x))

    def read(self, g: Float[Tensor, "b t t"], x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        return self.gather(g, self.context(x))

    def embed(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        context = self.context(x)
        return self.gather(self.likeness(context), context)


@full_precision
def likeness(q: Float[Tensor, "b d t"], k: Float[Tensor, "b d t"]) -> Float[Tensor, "b t t"]:
    """softmax(q · k) over the frames."""
    return (q.transpose(1, 2) @ k).softmax(2)
