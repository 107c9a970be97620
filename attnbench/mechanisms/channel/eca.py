"""Efficient Channel Attention: weigh each channel by a small filter over its neighbours' means."""

import math
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import UserError
from attnbench.mechanisms.base import Card, Mechanism, Place


def rule(channels: int) -> int:
    """The paper's kernel for γ = 2, b = 1: the odd number nearest to (log2(c) + 1) / 2, a tie going up."""
    t = int((math.log2(channels) + 1) / 2)
    return t if t % 2 else t + 1


class ECA(Mechanism):
    """g = sigmoid(conv1d(GAP(x))), one filter of k weights, no bias, shared by all channels; y = g x.

    Nothing is added to the product: the "+ X" of formulas that circulate is the ResNet's shortcut.

    `kernels` is `rule`, the paper's guide to k by the number of channels; or `k` and one odd digit a
    stage, as the released networks have them, whose k the authors tuned by hand: `k3577` ResNet-18,
    `k3557` ResNet-50, `k3357` ResNet-34, -101 and -152; or `k3`, one for all stages (the default argument
    of the released module); or `mobilenet`: k = 1 below 96 channels, else 3. Source: BangguWu/ECANet.
    """

    card = Card(
        title="ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks",
        venue="CVPR 2020",
        url="https://arxiv.org/abs/1910.03151",
        tasks=("Cls", "Det", "ISeg"),
        g="global average pooling -> 1-D convolution -> sigmoid",
        range=(0.0, 1.0),
        soft=True,
        goals=("emphasise important channels", "capture global information"),
        params=rule,
        site="residual",
    )

    def __init__(self, channels: int, kernels: str = "rule") -> None:
        super().__init__()
        k = kernel_size(channels, kernels)
        self.conv = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        """Build it with the kernel of the place's stage; raises `UserError` where `kernels` names too few."""
        kernels = options.get("kernels", "rule")
        if digits(kernels) and len(kernels) > 2:
            if place.stage >= len(kernels) - 1:
                raise UserError(
                    f"kernels={kernels} has {len(kernels) - 1} stages, {place.name} is in one more"
                )
            options["kernels"] = f"k{kernels[1 + place.stage]}"
        return cls(place.channels, **options)

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 1 1"]:
        z = self.conv(x.mean((2, 3))[:, None])
        return torch.sigmoid(z)[:, 0, :, None, None]


def digits(kernels: str) -> bool:
    """Whether it is `k` and odd digits."""
    return kernels[:1] == "k" and len(kernels) > 1 and set(kernels[1:]) <= set("13579")


def kernel_size(channels: int, kernels: str) -> int:
    """The k that `kernels` means for one module; raises `UserError` where it means none."""
    if kernels == "rule":
        return rule(channels)
    if kernels == "mobilenet":
        return 1 if channels < 96 else 3
    if not digits(kernels):
        raise UserError(f"kernels={kernels}: give rule, mobilenet, or k and odd digits (k5, k3557)")
    if len(kernels) > 2:
        raise UserError(
            f"kernels={kernels} has one kernel a stage: build with ECA.at(place), or give one digit"
        )
    return int(kernels[1])
