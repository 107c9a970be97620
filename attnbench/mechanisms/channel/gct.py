"""Gated Channel Transformation: let channels compete or cooperate by their norms."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism


class GCT(Mechanism):
    """g = 1 + tanh(γ n + β), where n are the channels' embeddings e over their root mean square.

    e = α sqrt(sum of x² + ε) over the map (`mode="l2"`, the default), or α times the sum of |x| with n = e
    over its mean magnitude (`l1`). The 1 is the identity: y = g x, and formulas with "s X + X" count it
    twice. α = 1, γ = β = 0 at the start; β has no weight decay. Norms are taken in float32 at least, since
    half precision overflows. Source: z-x-yang/GCT.
    """

    card = Card(
        title="Gated Channel Transformation for Visual Recognition",
        venue="CVPR 2020",
        url="https://arxiv.org/abs/1909.11519",
        tasks=("Cls", "Det", "ISeg", "Action"),
        g="l2 norm of each channel -> normalisation over channels -> affine -> 1 + tanh",
        range=(0.0, 2.0),
        soft=True,
        goals=("model competition and cooperation of channels", "capture global information"),
        params=lambda c: 3 * c,
        site="every_conv",
        identity=True,
    )

    def __init__(self, channels: int, mode: Literal["l2", "l1"] = "l2", eps: float = 1e-5) -> None:
        super().__init__()
        self.mode, self.eps = mode, eps
        self.alpha = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 1 1"]:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        if self.mode == "l2":
            e = self.alpha * ((wide * wide).sum((2, 3), keepdim=True) + self.eps).sqrt()
            n = e * (e.square().mean(1, keepdim=True) + self.eps).rsqrt()
        else:
            e = self.alpha * wide.abs().sum((2, 3), keepdim=True)
            n = e / (e.abs().mean(1, keepdim=True) + self.eps)
        return (1 + torch.tanh(self.gamma * n + self.beta)).to(x.dtype)

    def no_weight_decay(self) -> set[str]:
        return {"beta"}
