"""The way down of a small U-Net: stages of two 3x3 convolutions, pooling between them.

Ronneberger, Fischer and Brox, "U-Net", MICCAI 2015; with padded convolutions and norms. As a classifier the
last map's mean goes through a linear layer; a U-Net's way up is a decoder of task `seg`.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.backbones import stage_info
from attnbench.errors import UserError


class Stage(nn.Module):
    """Two 3x3 convolutions, each with a norm and a ReLU."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)))


class Descent(nn.Module):
    """Stages `layer1`, `layer2`, ..., each on a map half as large as the one before."""

    def __init__(self, classes: int, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.depth = len(widths)
        for i, (inputs, outputs) in enumerate(zip((channels, *widths), widths)):
            self.add_module(f"layer{i + 1}", Stage(inputs, outputs))
        self.fc = nn.Linear(widths[-1], classes) if classes else nn.Identity()
        self.feature_info = stage_info(widths, [2**i for i in range(self.depth)])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        return self.fc(self.forward_intermediates(x)[-1].mean((2, 3)))

    def forward_intermediates(
        self, x: Float[Tensor, "b c h w"], intermediates_only: bool = True
    ) -> list[Float[Tensor, "b d i j"]]:
        """The maps of the stages, under the name that timm's networks have for it."""
        maps = [self.get_submodule("layer1")(x)]
        for i in range(1, self.depth):
            maps.append(self.get_submodule(f"layer{i + 1}")(F.max_pool2d(maps[-1], 2, ceil_mode=True)))
        return maps


def build(classes: int, channels: int, widths: Sequence[int]) -> Descent:
    """The network with stages of these widths; raises `UserError` for fewer than two."""
    if len(widths) < 2:
        raise UserError(f"widths={list(widths)}: a U-Net has two stages at least")
    return Descent(classes, channels, tuple(widths))
