"""Style-based Recalibration: weigh each channel by its own mean and standard deviation."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism
from attnbench.mechanisms.norm import PooledBatchNorm


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
            wide = x.to(torch.promote_types(x.dtype, torch.float32))
            mean = wide.mean((2, 3), keepdim=True)
            positions = x.shape[2] * x.shape[3]
            unbiased = positions / max(positions - 1, 1)
            deviation = ((wide - mean).square().mean((2, 3), keepdim=True) * unbiased + 1e-5).sqrt()
            first, second = self.styles[:, :, None, None].unbind(1)
            z = self.norm(first * mean + second * deviation)
        return z.sigmoid().to(x.dtype)
