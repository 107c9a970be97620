"""SimAM: weigh each neuron by how far it stands out in its channel, without parameters."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from attnbench.mechanisms.base import Card, Mechanism


class SimAM(Mechanism):
    """g = sigmoid((x - μ)² / (4 (v + λ)) + 1/2), with μ and the unbiased variance v of each channel's map.

    The authors put it between the second convolution and its norm, not behind the last norm as most
    copies do. Of a 1x1 map v is taken as 0, where the released code divides by 0. Sums are made in
    float32 at least. Source: ZjjConan/SimAM.
    """

    card = Card(
        title="SimAM: A Simple, Parameter-Free Attention Module for Convolutional Neural Networks",
        venue="ICML 2021",
        url="https://proceedings.mlr.press/v139/yang21o.html",
        tasks=("Cls", "Det", "ISeg"),
        g="squared distance from the channel's mean, over its variance -> sigmoid",
        range=(0.62, 1.0),
        soft=True,
        goals=("emphasise neurons that stand out", "no parameters"),
        params=lambda c: 0,
        site="inner",
    )

    def __init__(self, channels: int, lam: float = 1e-4) -> None:
        super().__init__()
        self.lam = lam

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        apart = (wide - wide.mean((2, 3), keepdim=True)).square()
        sharp = sharpness(apart, self.lam)
        return torch.sigmoid(apart * sharp + 0.5).to(x.dtype)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return Gate.apply(x, self.lam)


def sharpness(apart: Tensor, lam: float) -> Tensor:
    """1 / (4 (v + λ)) from the squared distances (b, c, h, w), as (b, c, 1, 1)."""
    freedom = max(apart.shape[2] * apart.shape[3] - 1, 1)
    return 0.25 / (apart.sum((2, 3), keepdim=True) / freedom + lam)


class Gate(torch.autograd.Function):
    """x g(x) in few passes; keeps x and two numbers a channel for its backward pass, no map."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, lam: float) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        mean = x.mean((2, 3), keepdim=True, dtype=wide)
        apart = (x - mean).square_()
        sharp = sharpness(apart, lam)
        ctx.save_for_backward(x, mean, sharp)
        return apart.mul_(sharp).add_(0.5).sigmoid_().mul_(x).to(x.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        x, mean, sharp = ctx.saved_tensors
        off = x - mean
        apart = off.square()
        gate = (apart * sharp).add_(0.5).sigmoid_()
        dx = gate * dy
        du = (1 - gate).mul_(dx).mul_(x)  # of the sigmoid's argument, u = apart · sharp + 1/2
        freedom = max(x.shape[2] * x.shape[3] - 1, 1)
        dv = apart.mul_(du).sum((2, 3), keepdim=True) * sharp.square() * (-4 / freedom)
        du.mul_(sharp).add_(dv).mul_(off).mul_(2)
        return dx.add_(du).sub_(du.mean((2, 3), keepdim=True)).to(x.dtype), None
