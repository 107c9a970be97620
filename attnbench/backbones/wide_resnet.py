"""Wide residual networks for small images: 6n + 4 layers with 16k, 32k and 64k channels.

Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016. Norm and ReLU come before each convolution;
a shortcut that changes width is a 1x1 convolution of the first ReLU's output.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.backbones import stage_info
from attnbench.errors import UserError


class Block(nn.Module):
    """Twice norm, ReLU and a 3x3 convolution, with dropout between, and a shortcut."""

    def __init__(self, inputs: int, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        same = inputs == channels and stride == 1
        self.shortcut = None if same else nn.Conv2d(inputs, channels, 1, stride, bias=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        z = F.relu(self.bn1(x))
        y = self.conv2(self.dropout(F.relu(self.bn2(self.conv1(z)))))
        return y + (x if self.shortcut is None else self.shortcut(z))


class WideResNet(nn.Module):
    """Convolution, three stages of n blocks, norm and ReLU, global mean, and for classes a linear layer."""

    def __init__(self, classes: int, channels: int, blocks: int, width: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        self.layer1 = _stage(16, 16 * width, blocks, 1, dropout)
        self.layer2 = _stage(16 * width, 32 * width, blocks, 2, dropout)
        self.layer3 = _stage(32 * width, 64 * width, blocks, 2, dropout)
        self.bn = nn.BatchNorm2d(64 * width)
        self.fc = nn.Linear(64 * width, classes) if classes else nn.Identity()
        self.feature_info = stage_info((16 * width, 32 * width, 64 * width), (1, 2, 4))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(self.fc, nn.Linear):
            nn.init.zeros_(self.fc.bias)

    def forward_features(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """The last map."""
        return self.forward_intermediates(x)[-1]

    def forward_intermediates(
        self, x: Float[Tensor, "b c h w"], intermediates_only: bool = True
    ) -> list[Float[Tensor, "b d i j"]]:
        """The maps of the stages, the last one after its norm, by the name that timm's networks have."""
        first = self.layer1(self.conv1(x))
        second = self.layer2(first)
        return [first, second, F.relu(self.bn(self.layer3(second)))]

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        return self.fc(self.forward_features(x).mean((2, 3)))


def _stage(inputs: int, channels: int, blocks: int, stride: int, dropout: float) -> nn.Sequential:
    first = Block(inputs, channels, stride, dropout)
    return nn.Sequential(first, *(Block(channels, channels, 1, dropout) for _ in range(blocks - 1)))


def build(classes: int, channels: int, depth: int, width: int, dropout: float = 0.0) -> WideResNet:
    """The network WRN-depth-width; raises `UserError` where the depth is not 6n + 4."""
    blocks, rest = divmod(depth - 4, 6)
    if blocks < 1 or rest:
        raise UserError(f"depth={depth}: a wide residual network has 6n + 4 layers (10, 16, 22, 28, 40, ...)")
    return WideResNet(classes, channels, blocks, width, dropout)
