"""Residual networks for small images: 6n + 2 layers with 16, 32 and 64 channels.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2. The shortcuts hold no
parameters (option A): a smaller map is every second position, further channels are zero.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.backbones import stage_info
from attnbench.errors import UserError


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
    """Convolution, three stages of n blocks, global mean, one linear layer; without classes no such layer."""

    def __init__(self, classes: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, 1)
        self.layer2 = _stage(16, 32, blocks, 2)
        self.layer3 = _stage(32, 64, blocks, 2)
        self.fc = nn.Linear(64, classes) if classes else nn.Identity()
        self.feature_info = stage_info((16, 32, 64), (1, 2, 4))
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


def build(classes: int, channels: int, depth: int) -> CifarResNet:
    """The network of that many layers, 6n + 2 of them; raises `UserError` for other depths."""
    blocks, rest = divmod(depth - 2, 6)
    if blocks < 1 or rest:
        raise UserError(f"depth={depth}: a residual network for CIFAR has 6n + 2 layers (8, 14, 20, ...)")
    return CifarResNet(classes, channels, blocks)
