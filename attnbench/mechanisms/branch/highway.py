"""Highway layer: a gate says, number by number, how much to transform and how much to carry."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card
from attnbench.mechanisms.layers.conv import Replacement, like


class Highway(Replacement):
    """y = H(x) g + x (1 - g), H = relu(conv(x)), g = sigmoid(conv(x)), (b, c, h, w), both with bias.

    The gate's bias starts at -2, so that a fresh layer carries almost all (-1 on MNIST); weights are
    Xavier's. Where the replaced convolution changes the size or the width, x is carried as the paper
    allows, sub-sampled and padded with zero channels (or cut); the authors' networks have no such
    layer. The layer has its ReLU within; a backbone's BN and ReLU after it stay.
    Source: flukeskywalker/highway-networks (Caffe).
    """

    card = Card(
        title="Training Very Deep Networks",
        venue="NeurIPS 2015",
        url="https://arxiv.org/abs/1507.06228",
        tasks=("Cls",),
        g="convolution -> sigmoid",
        range=(0.0, 1.0),
        soft=True,
        goals=("dynamically fuse different branches",),
        params=lambda c: 2 * (9 * c * c + c),
        site="conv",
    )

    def __init__(self, channels: int, conv: nn.Conv2d, gate_bias: float = -2.0) -> None:
        super().__init__()
        self.transform, self.gate = like(conv, bias=True), like(conv, bias=True)
        for layer, bias in ((self.transform, 0.0), (self.gate, gate_bias)):
            nn.init.xavier_uniform_(layer.weight)
            layer.bias.data.fill_(bias)  # type: ignore[union-attr]

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        return self.gate(x).sigmoid()

    def f(self, g: Tensor, x: Tensor) -> Tensor:
        new = self.transform(x).relu_()
        return torch.lerp(self.carry(x).to(new.dtype), new, g.to(new.dtype))

    def carry(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        down, right = self.transform.stride
        more = self.transform.out_channels - x.shape[1]
        x = x[:, :, ::down, ::right] if (down, right) != (1, 1) else x
        return F.pad(x, (0, 0, 0, 0, 0, more)) if more else x
