"""Selective Kernel convolution: let each channel choose between receptive fields, by a softmax."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import Impossible
from attnbench.mechanisms.base import Card
from attnbench.mechanisms.layers.conv import Replacement, like, mixture, weighted_sum
from attnbench.mechanisms.layers.norm import PooledBatchNorm


class SK(Replacement):
    """y = sum_i g_i u_i, u_i = relu(BN(conv3x3 of dilation i)), g = softmax_i(W' relu(BN(W GAP(sum u)))).

    No layer has a bias; max(c // reduction, minimum) hidden units; the 5x5 branch is the authors' 3x3 of
    dilation 2. Where `groups` (or more, if the replaced convolution has more) does not divide both
    widths, their greatest common divisor with it serves: 16 groups of one channel at c = 16.
    SKNet has no further BN and ReLU: at site `conv_bn_act` a backbone's own go with the replaced
    convolution; at site `conv` they stay and normalise the mixture once more. `split` gives each branch its
    own share of the channels, as timm's small networks have it. Training needs two images a batch.
    Source: implus/SKNet (Caffe); timm's with split_input=`split`.
    """

    card = Card(
        title="Selective Kernel Networks",
        venue="CVPR 2019",
        url="https://arxiv.org/abs/1903.06586",
        tasks=("Cls",),
        g="global average pooling -> MLP -> softmax",
        range=(0.0, 1.0),
        soft=True,
        goals=("dynamically fuse different branches", "adaptively select a suitable receptive field"),
        params=lambda c: (lambda d: 18 * c * c // math.gcd(c, 32) + 4 * c + 3 * c * d + 2 * d)(
            max(c // 16, 32)
        ),
        site=("conv_bn_act", "conv"),
    )

    def __init__(
        self,
        channels: int,
        conv: nn.Conv2d,
        branches: int = 2,
        groups: int = 32,
        reduction: int = 16,
        minimum: int = 32,
        split: bool = False,
    ) -> None:
        super().__init__()
        if split and channels % branches:
            raise Impossible(f"split: {channels} channels do not divide into {branches} branches")
        width, inputs = conv.out_channels, channels // branches if split else channels
        groups = math.gcd(max(groups, conv.groups), inputs, width)
        self.split = split
        self.branches = nn.ModuleList(
            nn.Sequential(like(conv, groups=groups, spread=i, inputs=inputs), nn.BatchNorm2d(width))
            for i in range(1, branches + 1)
        )
        hidden = max(width // reduction, minimum)
        self.reduce = nn.Linear(width, hidden, bias=False)
        self.norm = PooledBatchNorm(hidden)
        self.select = nn.Linear(hidden, branches * width, bias=False)
        for layer in (self.reduce, self.select):
            nn.init.normal_(layer.weight, std=0.01)

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b m d 1 1"]:
        return self.choose(self.look(x))

    def f(self, g: Tensor, x: Tensor) -> Tensor:
        return weighted_sum(self.look(x), g)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        views = self.look(x)
        return mixture(views, self.choose(views))

    def look(self, x: Tensor) -> list[Tensor]:
        """The map in each receptive field, (b, d, i, j) each."""
        parts = x.chunk(len(self.branches), 1) if self.split else len(self.branches) * [x]
        return [view(part).relu_() for view, part in zip(self.branches, parts)]

    def choose(self, views: list[Tensor]) -> Float[Tensor, "b m d 1 1"]:
        s = torch.stack([u.mean((2, 3)) for u in views]).sum(0)
        z = self.norm(self.reduce(s)[:, :, None, None]).relu().flatten(1)
        logits = self.select(z).view(z.shape[0], len(views), -1, 1, 1)
        return logits.softmax(1).to(views[0].dtype)
