"""A residual network whose last map sees no more than 13 px of the image: the control of the probes.

The blocks of the residual networks for CIFAR, but that the second stage alone has a stride and the third one
has 1x1 convolutions. Its logits are a mean over places of functions of small windows, the idea of Brendel and
Bethge, "Approximating CNNs with Bag-of-local-Features models works surprisingly well on ImageNet", ICLR 2019.
"""

from torch import nn

from attnbench.backbones import stage_info
from attnbench.backbones.cifar_resnet import Block, CifarResNet
from attnbench.errors import UserError


class KernelBlock(Block):
    """A block with convolutions of another size."""

    def __init__(self, inputs: int, channels: int, stride: int, kernel: int) -> None:
        super().__init__(inputs, channels, stride)
        self.conv1 = nn.Conv2d(inputs, channels, kernel, stride, kernel // 2, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, kernel, 1, kernel // 2, bias=False)


class PatchResNet(CifarResNet):
    """Convolution, three stages of n blocks, global mean, linear layer; the last stage sees no further."""

    def __init__(self, classes: int, channels: int, blocks: int, kernel: int, width: int) -> None:
        super().__init__(classes, channels, blocks)
        widths = (width, 2 * width, 4 * width)
        self.conv1 = nn.Conv2d(channels, width, kernel, 1, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, widths[0], blocks, 1, kernel)
        self.layer2 = _stage(width, widths[1], blocks, 2, kernel)
        self.layer3 = _stage(widths[1], widths[2], blocks, 1, 1)
        self.fc = nn.Linear(widths[2], classes) if classes else nn.Identity()
        self.feature_info = stage_info(widths, (1, 2, 2))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _stage(inputs: int, channels: int, blocks: int, stride: int, kernel: int) -> nn.Sequential:
    first = KernelBlock(inputs, channels, stride, kernel)
    return nn.Sequential(first, *(KernelBlock(channels, channels, 1, kernel) for _ in range(blocks - 1)))


def build(classes: int, channels: int, depth: int, kernel: int = 3, width: int = 16) -> PatchResNet:
    """The network of that many layers, 6n + 2; raises `UserError` for other depths and even kernels."""
    blocks, rest = divmod(depth - 2, 6)
    if blocks < 1 or rest:
        raise UserError(f"depth={depth}: this network has 6n + 2 layers (8, 14, 20, ...)")
    if kernel < 1 or kernel % 2 == 0 or width < 1:
        raise UserError(f"kernel={kernel}, width={width}: an odd kernel and at least one channel are needed")
    return PatchResNet(classes, channels, blocks, kernel, width)
