"""ResNeSt's split attention: several groups of channels, fused channel by channel by a softmax."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import Impossible
from attnbench.mechanisms.base import Card
from attnbench.mechanisms.layers.conv import Replacement, like, mixture, weighted_sum
from attnbench.mechanisms.layers.norm import PooledBatchNorm

POOLS = ("after", "before", "none")


class ResNeSt(Replacement):
    """y = sum_r g_r u_r, [u_1 … u_R] = relu(BN(grouped conv)), g = softmax_r(W2 relu(BN(W1 GAP(sum u)))).

    `radix` R chunks; `cardinality` groups in all layers, by default those of the replaced convolution;
    max(c R / reduction, 32) hidden units; R = 1 has a sigmoid. Where the convolution has a stride,
    `pool` takes its place: a 3x3 average after it (ResNeSt-50, the default), before it (the "fast"
    models), or none. ResNeSt has no further BN and ReLU: at site `conv_bn_act` a backbone's own go with the
    replaced convolution, at site `conv` they stay. Its deep stem and averaging shortcuts are the backbone's
    to have. Where a stage is dilated instead of strided, the released code pools in its first block all the
    same, with stride 1; here nothing does. Training needs two images a batch. Source: zhanghang1989/ResNeSt.
    """

    card = Card(
        title="ResNeSt: Split-Attention Networks",
        venue="CVPRW 2022",
        url="https://arxiv.org/abs/2004.08955",
        tasks=("Cls", "Det", "SSeg", "ISeg"),
        g="global average pooling of the sum -> MLP -> softmax over the splits",
        range=(0.0, 1.0),
        soft=True,
        goals=("dynamically fuse different branches",),
        params=lambda c: (lambda i: 9 * c * c + 4 * c + c * i + 3 * i + 2 * c * i + 2 * c)(max(c // 2, 32)),
        site=("conv_bn_act", "conv"),
    )

    def __init__(
        self,
        channels: int,
        conv: nn.Conv2d,
        radix: int = 2,
        cardinality: int | None = None,
        reduction: int = 4,
        pool: Literal["after", "before", "none"] = "after",
    ) -> None:
        super().__init__()
        width, groups = conv.out_channels, cardinality or conv.groups
        hidden = max(channels * radix // reduction, 32)
        if channels % (groups * radix) or width % groups or hidden % groups:
            raise Impossible(
                f"{channels} to {width} channels with {hidden} hidden ones do not split into "
                f"{groups} groups of {radix}"
            )
        self.radix, self.groups = radix, groups
        pooled = pool != "none" and conv.stride != (1, 1)
        self.pool = nn.AvgPool2d(3, conv.stride[0], 1) if pooled else None
        self.pool_first = pool == "before"
        self.conv = like(conv, width * radix, groups * radix, strided=not pooled)
        self.norm = nn.BatchNorm2d(width * radix)
        self.reduce = nn.Conv2d(width, hidden, 1, groups=groups)
        self.hidden_norm = PooledBatchNorm(hidden)
        self.expand = nn.Conv2d(hidden, width * radix, 1, groups=groups)
        for layer in (self.reduce, self.expand):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b r d 1 1"]:
        return self.choose(self.split(x))

    def f(self, g: Tensor, x: Tensor) -> Tensor:
        return self.shrink(weighted_sum(self.split(x), g))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        splits = self.split(x)
        return self.shrink(mixture(splits, self.choose(splits)))

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """The splits, (b, d, i, j) each."""
        x = self.pool(x) if self.pool is not None and self.pool_first else x
        return self.norm(self.conv(x)).relu_().chunk(self.radix, 1)

    def choose(self, splits: tuple[Tensor, ...]) -> Float[Tensor, "b r d 1 1"]:
        s = torch.stack([u.mean((2, 3), keepdim=True) for u in splits]).sum(0)
        logits = self.expand(self.hidden_norm(self.reduce(s)).relu())
        logits = logits.unflatten(1, (self.groups, self.radix, -1)).transpose(1, 2)
        gate = logits.softmax(1) if self.radix > 1 else logits.sigmoid()
        return gate.flatten(2, 3).to(splits[0].dtype)

    def shrink(self, y: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d i j"]:
        return self.pool(y) if self.pool is not None and not self.pool_first else y
