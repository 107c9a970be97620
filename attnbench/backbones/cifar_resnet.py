"""Residual networks for small images: 6n + 2 layers with 16, 32 and 64 channels.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2. The shortcuts hold no
parameters (option A): a smaller map is every second position, further channels are zero.
"""

from collections.abc import Sequence
from typing import Annotated

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.backbones import stage_info
from attnbench.backbones._sizes import Size
from attnbench.errors import UserError

WIDTHS = (16, 32, 64)


class Block(nn.Module):
    """Two 3x3 convolutions, each with a norm, and a shortcut without parameters."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.added = channels - inputs
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))

    def shortcut(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.added)) if self.added else x


class CifarResNet(nn.Module):
    """Convolution, three stages of blocks, global mean, one linear layer; without classes no such layer."""

    def __init__(self, classes: int, channels: int, blocks: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        first, second, third = widths
        self.conv1 = nn.Conv2d(channels, first, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.layer1 = _stage(first, first, blocks[0], 1)
        self.layer2 = _stage(first, second, blocks[1], 2)
        self.layer3 = _stage(second, third, blocks[2], 2)
        self.fc = nn.Linear(third, classes) if classes else nn.Identity()
        self.feature_info = stage_info((first, second, third), (1, 2, 4))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """The last map."""
        return self.forward_intermediates(x)[-1]

    def forward_intermediates(
        self, x: Float[Tensor, "b c h w"], intermediates_only: bool = True
    ) -> list[Float[Tensor, "b d i j"]]:
        """The maps of the stages, under the name that timm's networks have for it."""
        first = self.layer1(F.relu(self.bn1(self.conv1(x))))
        second = self.layer2(first)
        return [first, second, self.layer3(second)]

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        return self.fc(self.forward_features(x).mean((2, 3)))


def _stage(inputs: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = Block(inputs, channels, stride)
    return nn.Sequential(first, *(Block(channels, channels, 1) for _ in range(blocks - 1)))


def build(
    classes: int,
    channels: int,
    depth: Annotated[int, range(8, 10_000, 6)],
    widths: Annotated[Sequence[int], 3] = WIDTHS,
    blocks: Annotated[Sequence[int], 3] | None = None,
) -> CifarResNet:
    """The network of that many layers, 6n + 2 of them; raises `UserError` for other depths.

    `widths` are the channels of its three stages, none fewer than in the stage before; `blocks`, the blocks
    of each stage, stand instead of n.
    """
    if len(widths) != 3 or min(widths) < 1 or sorted(widths) != list(widths):
        raise UserError(f"widths={list(widths)}: the channels of three stages, such as {list(WIDTHS)}")
    if blocks is not None and (len(blocks) != 3 or min(blocks) < 1):
        raise UserError(f"blocks={list(blocks)}: the blocks of three stages, such as [3, 3, 3]")
    return CifarResNet(classes, channels, blocks or (_blocks(depth),) * 3, widths)


def _blocks(depth: int) -> int:
    """Blocks of a stage in a network of that many layers."""
    blocks, rest = divmod(depth - 2, 6)
    if blocks < 1 or rest:
        raise UserError(f"depth={depth}: a residual network for CIFAR has 6n + 2 layers (8, 14, 20, ...)")
    return blocks


def size(depth: int, widths: Sequence[int] = WIDTHS, blocks: Sequence[int] | None = None) -> Size:
    """The arguments that make it wider or deeper."""
    return Size({"widths": tuple(widths)}, {"blocks": tuple(blocks or (_blocks(depth),) * 3)})
