"""Double attention: gather features of the whole map into a few descriptors, hand them out to positions."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism
from attnbench.mechanisms.layers.sizes import known


class A2(Mechanism):
    """x + W (A softmax_positions(B)^T) softmax_descriptors(V), with A, B, V three projections of x.

    g, what each position receives from each other, is the product of both softmaxes; forward never makes
    it: on large maps it gathers x itself and projects the few descriptors instead of all positions, which
    is exact as the weights of either softmax add up to one. No code of the authors is public; the
    expansion and the shortcut are the paper's. Shapes: nguyenvo09/Double-Attention-Network.
    """

    card = Card(
        title="A2-Nets: Double Attention Networks",
        venue="NeurIPS 2018",
        url="https://arxiv.org/abs/1810.11579",
        tasks=("Cls", "Action"),
        g="gather by a softmax over positions -> distribute by a softmax over descriptors",
        range=(0.0, 1.0),
        soft=True,
        goals=("capture long-range dependencies", "reduce the cost of dense self-attention"),
        params=lambda c: 3 * (c + 1) * max(c // 4, 1) + max(c // 4, 1) * c + c,
        site="late",
    )

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.feature = nn.Conv2d(channels, hidden, 1)
        self.gather = nn.Conv2d(channels, hidden, 1)
        self.distribute = nn.Conv2d(channels, hidden, 1)
        self.expand = nn.Conv2d(hidden, channels, 1)

    def maps(self, x: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b k n"], Float[Tensor, "b k n"]]:
        """How much of each position a descriptor takes, and how much of each descriptor a position gets."""
        return self.gather(x).flatten(2).softmax(2), self.distribute(x).flatten(2).softmax(1)

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n n"]:
        taken, given = self.maps(x)
        return given.transpose(1, 2) @ taken

    def f(self, g: Float[Tensor, "b n n"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        z = self.feature(x).flatten(2) @ g.transpose(1, 2)
        return (x + self.expand(z.unflatten(2, x.shape[2:]))).to(x.dtype)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        taken, given = self.maps(x)
        if (
            known(given.shape[2]) and given.shape[2] <= x.shape[1]
        ):  # so few positions that to project descriptors is more work
            z = self.feature(x).flatten(2) @ taken.transpose(1, 2) @ given
            return (x + self.expand(z.unflatten(2, x.shape[2:]))).to(x.dtype)
        descriptors = taken @ x.flatten(2).transpose(1, 2)
        for layer in (self.feature, self.expand):
            descriptors = F.linear(descriptors, layer.weight.flatten(1), layer.bias)
        y = torch.baddbmm(x.flatten(2), descriptors.transpose(1, 2), given)
        return y.view(x.shape).to(x.dtype)
