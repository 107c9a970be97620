"""Dynamic convolution: mix several kernels for each image, by a softmax that sharpens as training goes on."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card
from attnbench.mechanisms.layers.conv import Kernels, Replacement


class DynamicConv(Replacement):
    """y = conv(x, sum_k g_k W_k), g = softmax((W2 relu(W1 GAP(x)) + b) / t), (b, kernels).

    t falls linearly from `temperature` to 1 over the first `anneal` epochs, in runs shorter than twice
    that over their first half; the training loop calls `start_epoch`. Left at 30 it would mix all
    kernels alike. It is part of the state, so that a loaded network evaluates as it was trained.
    c // 4 + 1 hidden units. The common port starts at 34 and takes 3 an epoch: `temperature=34`,
    `anneal=11`. No official code was released; after kaijieshi7/Dynamic-convolution-Pytorch. BN and ReLU
    follow outside, as after any convolution.
    """

    card = Card(
        title="Dynamic Convolution: Attention over Convolution Kernels",
        venue="CVPR 2020",
        url="https://arxiv.org/abs/1912.03458",
        tasks=("Cls", "KP"),
        g="global average pooling -> MLP -> softmax with a temperature",
        range=(0.0, 1.0),
        soft=True,
        goals=("dynamically fuse different convolution kernels",),
        params=lambda c: 4 * 9 * c * c + (c + 4) * (c // 4 + 1) + 4,
        site=("later_conv", "conv"),
    )
    temperature: Tensor

    def __init__(
        self,
        channels: int,
        conv: nn.Conv2d,
        kernels: int = 4,
        reduction: int = 4,
        temperature: float = 30.0,
        anneal: int = 10,
    ) -> None:
        super().__init__()
        hidden = channels // reduction + 1
        self.reduce = nn.Linear(channels, hidden, bias=False)
        self.expand = nn.Linear(hidden, kernels)
        self.kernels = Kernels(conv, kernels)
        self.start, self.anneal = temperature, anneal
        self.register_buffer("temperature", torch.tensor(float(temperature)))
        for layer in (self.reduce, self.expand):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
        nn.init.zeros_(self.expand.bias)
        for kernel in self.kernels.each():
            nn.init.kaiming_uniform_(kernel)

    def start_epoch(self, epoch: int, epochs: int) -> None:
        over = min(self.anneal, max(epochs // 2, 1))
        self.temperature.fill_(self.start + (1 - self.start) * min(epoch / over, 1))

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        z = self.reduce(x.mean((2, 3))).relu()
        return (self.expand(z) / self.temperature).softmax(1)

    def f(self, g: Tensor, x: Tensor) -> Tensor:
        return self.kernels(x, g)
