"""Residual attention networks: residual units, and in each of three stages modules with a mask branch.

Wang et al., "Residual Attention Network for Image Classification", CVPR 2017. Attention-56 has one module
a stage, Attention-92 one, two and three. Norm and ReLU come before each convolution.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.backbones import stage_info
from attnbench.errors import UserError
from attnbench.mechanisms.channel_spatial.residual_attention import ResidualAttention, Unit

STEMS = {"imagenet": (3, 2, 1), "cifar": (2, 1, 1)}  # poolings of the modules of each stage


class ResidualAttentionNetwork(nn.Module):
    """Stem, three stages of a unit and modules, three units, norm and ReLU, global mean, one linear layer."""

    def __init__(self, classes: int, channels: int, modules: Sequence[int], stem: str, width: int) -> None:
        super().__init__()
        self.pools = stem == "imagenet"
        kernel, stride = (7, 2) if self.pools else (3, 1)
        self.conv1 = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        widths = [width, 4 * width, 8 * width, 16 * width]
        self.layer1, self.layer2, self.layer3 = (
            _stage(inputs, outputs, stride, count, poolings)
            for inputs, outputs, stride, count, poolings in zip(
                widths, widths[1:], (1, 2, 2), modules, STEMS[stem]
            )
        )
        self.layer4 = nn.Sequential(Unit(16 * width, 32 * width, 2), *(Unit(32 * width) for _ in range(2)))
        self.bn = nn.BatchNorm2d(32 * width)
        self.fc = nn.Linear(32 * width, classes) if classes else nn.Identity()
        finest = 4 if self.pools else 1
        self.feature_info = stage_info((*widths[1:], 32 * width), [finest * 2**i for i in range(4)])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """The last map."""
        return self.forward_intermediates(x)[-1]

    def forward_intermediates(
        self, x: Float[Tensor, "b c h w"], intermediates_only: bool = True
    ) -> list[Float[Tensor, "b d i j"]]:
        """The maps of the stages, the last one after its norm, by the name that timm's networks have."""
        x = F.relu(self.bn1(self.conv1(x)))
        if self.pools:
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        first = self.layer1(x)
        second = self.layer2(first)
        third = self.layer3(second)
        return [first, second, third, F.relu(self.bn(self.layer4(third)))]

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        return self.fc(self.forward_features(x).mean((2, 3)))


def _stage(inputs: int, channels: int, stride: int, modules: int, poolings: int) -> nn.Sequential:
    attention = (ResidualAttention(channels, poolings, trunk=True) for _ in range(modules))
    return nn.Sequential(Unit(inputs, channels, stride), *attention)


def build(
    classes: int,
    channels: int,
    modules: Annotated[Sequence[int], 3],
    stem: Literal["imagenet", "cifar"] = "imagenet",
    width: int = 64,
) -> ResidualAttentionNetwork:
    """The network with so many modules in each of three stages; raises `UserError` for another number."""
    if len(modules) != 3 or min(modules) < 1:
        raise UserError(f"modules={list(modules)}: give three numbers from 1, one for each stage")
    return ResidualAttentionNetwork(classes, channels, modules, stem, width)
