"""Wide residual networks for small images: 6n + 4 layers with 16k, 32k and 64k channels.

Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016. Norm and ReLU come before each convolution;
a shortcut that changes width is a 1x1 convolution of the first ReLU's output.
"""

from collections.abc import Sequence
from typing import Annotated

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.backbones import stage_info
from attnbench.backbones._sizes import Size
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

    def __init__(
        self, classes: int, channels: int, blocks: Sequence[int], widths: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        first, second, third = widths
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        self.layer1 = _stage(16, first, blocks[0], 1, dropout)
        self.layer2 = _stage(first, second, blocks[1], 2, dropout)
        self.layer3 = _stage(second, third, blocks[2], 2, dropout)
        self.bn = nn.BatchNorm2d(third)
        self.fc = nn.Linear(third, classes) if classes else nn.Identity()
        self.feature_info = stage_info((first, second, third), (1, 2, 4))
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


def build(
    classes: int,
    channels: int,
    depth: Annotated[int, range(10, 10_000, 6)],
    width: int,
    dropout: float = 0.0,
    widths: Annotated[Sequence[int], 3] | None = None,
    blocks: Annotated[Sequence[int], 3] | None = None,
) -> WideResNet:
    """The network WRN-depth-width; raises `UserError` where the depth is not 6n + 4.

    `widths` are the channels of its three stages instead of 16, 32 and 64 times the width, `blocks` the
    blocks of each stage instead of n.
    """
    form = size(depth, width, widths=widths, blocks=blocks)
    return WideResNet(classes, channels, form.depth["blocks"], form.width["widths"], dropout)


def size(
    depth: int,
    width: int,
    dropout: float = 0.0,
    widths: Sequence[int] | None = None,
    blocks: Sequence[int] | None = None,
) -> Size:
    """The arguments that make it wider or deeper."""
    each, rest = divmod(depth - 4, 6)
    if each < 1 or rest:
        raise UserError(f"depth={depth}: a wide residual network has 6n + 4 layers (10, 16, 22, 28, 40, ...)")
    channels = tuple(widths or (16 * width, 32 * width, 64 * width))
    return Size({"widths": channels}, {"blocks": tuple(blocks or (each,) * 3)})
