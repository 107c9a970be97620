"""Self-calibrated convolution: half of the channels are convolved under a gate that sees a wider field."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import Impossible
from attnbench.mechanisms.base import Card
from attnbench.mechanisms.layers.conv import Replacement, padding
from attnbench.mechanisms.layers.norm import PooledBatchNorm


class SC(Replacement):
    """y = [conv a, conv (BN(conv b) g)], g = sigmoid(b + up(BN(conv(pool b)))), [a, b] the halves of x.

    The block's own norm and ReLU follow, as they follow both branches in SCNet, and its first
    convolution serves as SCNet's two reductions: standing instead of every 3x3 convolution of ResNet-50,
    this makes it SCNet-50. The pool is 4x4, or as wide as a smaller map; what it leaves is repeated to
    the map's size. A stride is that of the last convolution of each half. Of grouped convolutions, each
    half has half the groups. Source: MCG-NKU/SCNet.
    """

    card = Card(
        title="Improving Convolutional Networks with Self-Calibrated Convolutions",
        venue="CVPR 2020",
        url="https://doi.org/10.1109/CVPR42600.2020.01011",
        tasks=("Cls", "Det", "ISeg"),
        g="average pooling -> 3x3 convolution -> BN -> upsampling -> addition -> sigmoid",
        range=(0.0, 1.0),
        soft=True,
        goals=("capture long-range dependence", "widen the receptive field"),
        params=lambda c: 9 * c * c + 2 * c,
        site="conv",
    )

    def __init__(self, channels: int, conv: nn.Conv2d, pool: int = 4) -> None:
        super().__init__()
        self.pool = pool
        self.halves, outputs = halves(channels), halves(conv.out_channels)
        a, b = self.halves
        self.plain = part(conv, a, outputs[0], strided=True)
        self.context = part(conv, b, b)
        self.context_norm = PooledBatchNorm(b)
        self.content = part(conv, b, b)
        self.content_norm = PooledBatchNorm(b)
        self.calibrated = part(conv, b, outputs[1], strided=True)

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        b = x.split(self.halves, 1)[1]
        pooled = F.avg_pool2d(b, [min(self.pool, n) for n in x.shape[2:]])
        context = self.context_norm(self.context(pooled))
        return torch.sigmoid(b + F.interpolate(context, x.shape[2:]))

    def f(self, g: Float[Tensor, "b d h w"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b e i j"]:
        """Both halves convolved, the second under the gate."""
        a, b = x.split(self.halves, 1)
        content = self.content_norm(self.content(b))
        return torch.cat((self.plain(a), self.calibrated(content * g)), 1)


def halves(channels: int) -> tuple[int, int]:
    """Widths of the two parts; raises `Impossible` where there is but one channel."""
    if channels < 2:
        raise Impossible("needs at least 2 channels")
    return channels - channels // 2, channels // 2


def part(conv: nn.Conv2d, inputs: int, outputs: int, strided: bool = False) -> nn.Conv2d:
    """A convolution of the same geometry for one half, without bias."""
    kernel, stride = conv.kernel_size, conv.stride if strided else (1, 1)
    groups = math.gcd(max(conv.groups // 2, 1), inputs, outputs)
    around = padding(conv)
    fresh = nn.Conv2d(inputs, outputs, kernel, stride, around, conv.dilation, groups, bias=False)  # type: ignore[arg-type]
    nn.init.kaiming_normal_(fresh.weight, mode="fan_out")
    return fresh
