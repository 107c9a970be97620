"""Squeeze-and-Excitation: weigh each channel by a small MLP of all channels' means."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism


class SE(Mechanism):
    """g = sigmoid(W2 relu(W1 GAP(x))), one weight a channel.

    `bias=True` is the authors' Caffe release (its 1x1 convolutions keep their biases); most PyTorch
    ports, and the tables of ECA and FcaNet, leave them out. Source: hujie-frank/SENet.
    """

    card = Card(
        title="Squeeze-and-Excitation Networks",
        venue="CVPR 2018",
        url="https://arxiv.org/abs/1709.01507",
        tasks=("Cls", "Det"),
        g="global average pooling -> MLP -> sigmoid",
        range=(0.0, 1.0),
        soft=True,
        goals=("emphasise important channels", "capture global information"),
        params=lambda c: 2 * c * max(c // 16, 1) + max(c // 16, 1) + c,
        site="residual",
    )

    def __init__(self, channels: int, reduction: int = 16, bias: bool = True) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.reduce = nn.Linear(channels, hidden, bias=bias)
        self.expand = nn.Linear(hidden, channels, bias=bias)

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 1 1"]:
        z = self.reduce(x.mean((2, 3))).relu()
        return torch.sigmoid(self.expand(z))[:, :, None, None]
