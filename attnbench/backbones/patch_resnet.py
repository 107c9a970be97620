"""A residual network whose last map sees no more than 13 px of the image: the control of the probes.

The blocks of the residual networks for CIFAR, but that the second stage alone has a stride and the third one
has 1x1 convolutions. Its logits are a mean over places of functions of small windows, the idea of Brendel and
Bethge, "Approximating CNNs with Bag-of-local-Features models works surprisingly well on ImageNet", ICLR 2019.
"""

from collections.abc import Sequence
from typing import Annotated

from torch import nn

from attnbench.backbones import cifar_resnet, stage_info
from attnbench.backbones._sizes import Size
from attnbench.backbones.cifar_resnet import WIDTHS, Block, CifarResNet
from attnbench.errors import UserError


class KernelBlock(Block):
    """A block with convolutions of another size."""

    def __init__(self, inputs: int, channels: int, stride: int, kernel: int) -> None:
        super().__init__(inputs, channels, stride)
        self.conv1 = nn.Conv2d(inputs, channels, kernel, stride, kernel // 2, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, kernel, 1, kernel // 2, bias=False)


class PatchResNet(CifarResNet):
    """Convolution, three stages of blocks, global mean, linear layer; the last stage sees no further."""

    def __init__(
        self, classes: int, channels: int, blocks: Sequence[int], widths: Sequence[int], kernel: int
    ) -> None:
        super().__init__(classes, channels, blocks, widths)
        first, second, third = widths
        self.conv1 = nn.Conv2d(channels, first, kernel, 1, kernel // 2, bias=False)
        self.layer1 = _stage(first, first, blocks[0], 1, kernel)
        self.layer2 = _stage(first, second, blocks[1], 2, kernel)
        self.layer3 = _stage(second, third, blocks[2], 1, 1)
        self.feature_info = stage_info((first, second, third), (1, 2, 2))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _stage(inputs: int, channels: int, blocks: int, stride: int, kernel: int) -> nn.Sequential:
    first = KernelBlock(inputs, channels, stride, kernel)
    return nn.Sequential(first, *(KernelBlock(channels, channels, 1, kernel) for _ in range(blocks - 1)))


def build(
    classes: int,
    channels: int,
    depth: Annotated[int, range(8, 10_000, 6)],
    kernel: Annotated[int, range(1, 1000, 2)] = 3,
    widths: Annotated[Sequence[int], 3] = WIDTHS,
    blocks: Annotated[Sequence[int], 3] | None = None,
) -> PatchResNet:
    """The network of that many layers, as `cifar_resnet.build` has it, with kernels of that side.

    Raises `UserError` for other depths and for even kernels.
    """
    if kernel < 1 or kernel % 2 == 0:
        raise UserError(f"kernel={kernel}: this network needs an odd side")
    found = size(depth, kernel, widths, blocks)
    return PatchResNet(classes, channels, found.depth["blocks"], found.width["widths"], kernel)


def size(
    depth: int, kernel: int = 3, widths: Sequence[int] = WIDTHS, blocks: Sequence[int] | None = None
) -> Size:
    """The arguments that make it wider or deeper."""
    return cifar_resnet.size(depth, widths, blocks)
