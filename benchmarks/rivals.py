"""timm's modules of the same kind as our mechanisms, of the same widths as far as their options allow."""

from collections.abc import Callable

import timm.layers as layers
import torch.nn.functional as F
from timm.layers.cbam import CbamModule
from timm.layers.coord_attn import CoordAttn
from torch import Tensor, nn

MODULES: dict[str, Callable[[int], nn.Module]] = {
    "se": lambda c: layers.SEModule(c, rd_channels=max(c // 16, 1)),
    "eca": layers.EcaModule,
    "gc": lambda c: layers.GlobalContext(c, fuse_add=True, fuse_scale=False, rd_ratio=1 / 16, rd_divisor=1),
    "non_local": lambda c: layers.NonLocalAttn(c, rd_ratio=1 / 2, rd_divisor=1),
    "cbam": lambda c: CbamModule(c, mlp_bias=True, rd_divisor=1),
    "coord": lambda c: CoordAttn(c, rd_channels=max(c // 32, 8), bias=True),
    "sk": lambda c: layers.SelectiveKernel(c, c, groups=32, split_input=False, rd_channels=max(c // 16, 32)),
    "condconv": lambda c: Routed(c),
    "resnest": lambda c: layers.SplitAttn(c, rd_channels=max(c // 4, 16), norm_layer=nn.BatchNorm2d),
    "vit": lambda c: Block(c),
}


def module(name: str, channels: int) -> nn.Module | None:
    """timm's module for maps of so many channels, if it has one of that kind."""
    return MODULES[name](channels) if name in MODULES else None


class Routed(nn.Module):
    """timm's conditional convolution with the routing that timm's EfficientNet has around it."""

    def __init__(self, channels: int, experts: int = 4) -> None:
        super().__init__()
        self.routing = nn.Linear(channels, experts)
        self.conv = layers.CondConv2d(channels, channels, 3, padding=1, num_experts=experts)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.conv(x, self.routing(pooled).sigmoid())


class Block(nn.Module):
    """timm's attention with the norm and the shortcut that its vision transformer has around it, on a map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.attention = layers.Attention(channels, max(channels // 64, 1), qkv_bias=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(self.norm(tokens))
        return tokens.transpose(1, 2).reshape(x.shape)
