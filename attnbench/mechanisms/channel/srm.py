"""Style-based Recalibration: weigh each channel by its own mean and standard deviation."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism
from attnbench.mechanisms.layers.norm import PooledBatchNorm
from attnbench.mechanisms.layers.precision import matched


class SRM(Mechanism):
    """g = sigmoid(BN(w1 mean + w2 std)), two weights a channel, which start at zero: a gate of 1/2.

    The standard deviation is sqrt(unbiased variance + 1e-5). On a map of one position, where the
    original divides by zero, the variance is taken as 0. Training needs two images a batch.
    Source: hyunjaelee410/style-based-recalibration-module.
    """

    card = Card(
        title="SRM: A Style-based Recalibration Module for Convolutional Neural Networks",
        venue="ICCV 2019",
        url="https://arxiv.org/abs/1903.10829",
        tasks=("Cls", "ST"),
        g="style pooling -> convolution and MLP -> sigmoid",
        range=(0.0, 1.0),
        soft=True,
        goals=("emphasise important channels", "capture global information"),
        params=lambda c: 4 * c,
        site="residual",
    )

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.styles = nn.Parameter(torch.zeros(channels, 2))
        self.norm = PooledBatchNorm(channels)

    def no_weight_decay(self) -> set[str]:
        return {"styles", "norm.weight", "norm.bias"}

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 1 1"]:
        with torch.autocast(x.device.type, enabled=False):
            mean, variance = Moments.apply(x)
            first, second = self.styles[:, :, None, None].unbind(1)
            z = first * mean + second * (variance + 1e-5).sqrt()
            z = self.norm(matched(z, self.norm))
        return z.sigmoid().to(x.dtype)


class Moments(torch.autograd.Function):
    """Mean and unbiased variance of each map, (b, c, 1, 1), in float32 at least, in few passes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x.mean((2, 3), keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))
        ctx.save_for_backward(x, mean)
        ctx.freedom = max(x.shape[2] * x.shape[3] - 1, 1)
        return mean, (x - mean).square_().sum((2, 3), keepdim=True) / ctx.freedom

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_mean: Tensor, of_variance: Tensor) -> Tensor:
        x, mean = ctx.saved_tensors
        slope = of_variance * (2 / ctx.freedom)
        level = of_mean / (x.shape[2] * x.shape[3]) - slope * mean
        return torch.addcmul(level, x.to(mean.dtype), slope).to(x.dtype)
