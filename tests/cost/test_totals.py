"""What mechanisms add to the learnable parameters of whole networks, as the papers place and print them."""

import copy
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import nn

from attnbench import backbones
from attnbench.config.schema import Site
from attnbench.grafting.graft import graft
from tests.networks import backbone

IMAGE = (3, 224, 224)
BLOCKS = {64: 3, 128: 4, 256: 6, 512: 3}  # ResNet-50's 3x3 convolutions, by width


def instead(parameters: Callable[[int], int]) -> int:
    """What ResNet-50 gains when modules of so many parameters replace its 3x3 convolutions."""
    return sum(count * (parameters(c) - 9 * c * c) for c, count in BLOCKS.items())


def split_attention(c: int) -> int:
    hidden = max(c // 2, 32)
    return 9 * c * c + 4 * c + (c + 1) * hidden + 2 * hidden + 2 * (hidden + 1) * c


ROWS = [  # mechanism, options, backbone, site, parameters it adds
    ("se", {}, "resnet50", "residual", 2_530_992),
    ("se", {"bias": False}, "resnet50", "residual", 2_514_944),
    ("eca", {}, "resnet50", "residual", 86),
    ("eca", {"kernels": "k3557"}, "resnet50", "residual", 80),
    ("gct", {}, "resnet50", "every_conv", 67_593),
    ("fca", {}, "resnet50", "residual", 2_514_944),
    ("srm", {}, "resnet50", "residual", 60_416),
    ("gsop", {}, "resnet50", "last_block", 2_728_192),
    ("dia", {"reduction": 20}, "resnet50", "residual", 32_792 + 132_146 + 530_534 + 2_105_548),
    ("enc", {}, "resnet50", "stage", sum(2 * c * c + 35 * c + 96 for c in (256, 512, 1024, 2048))),
    ("bilinear", {}, "resnet50", "between", 75_312 + 560_224 + 4_331_712),
    ("sk", {}, "resnet50", "conv", -10_231_296),
    ("condconv", {}, "resnet50", "conv", instead(lambda c: 36 * c * c + 4 * (c + 1))),
    ("dynamic_conv", {}, "resnet50", "conv", instead(lambda c: 36 * c * c + (c + 4) * (c // 4 + 1) + 4)),
    ("highway", {}, "resnet50", "conv", instead(lambda c: 18 * c * c + 2 * c)),
    ("resnest", {}, "resnet50", "conv", instead(split_attention)),
    ("sc", {}, "resnet50", "conv", 25_564_584 - 25_557_032),
    ("sc", {}, "resnet101", "conv", 44_565_416 - 44_549_160),
    ("ge", {"variant": "minus"}, "resnet50", "residual", 0),
    ("ge", {"variant": "theta"}, "resnet50", "residual", 31_106_600 - 25_557_032),
    ("ge", {}, "resnet50", "residual", 33_637_592 - 25_557_032),
    ("cbam", {}, "resnet50", "residual", 2_530_992 + 16 * 100),
    ("bam", {}, "resnet50", "between", 17_361 + 68_513 + 272_193),
    ("gc", {}, "resnet50", "deep", 4 * 33_889 + 6 * 133_313 + 3 * 528_769),
    ("triplet", {}, "resnet50", "residual", 16 * 300),
    ("simam", {}, "resnet50", "inner", 0),
]


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@cache
def plain(name: str) -> tuple[nn.Module, dict[str, Site]]:
    """The network without attention, on no device, and its sites."""
    config = backbone(name)
    with torch.device("meta"):
        return backbones.build(config, 1000, IMAGE), config.sites


@pytest.mark.parametrize(("mechanism", "options", "name", "site", "extra"), ROWS)
def test_parameters_added_to_the_whole_network(mechanism, options, name, site, extra):
    network, sites = plain(name)
    model = copy.deepcopy(network)
    with torch.device("meta"):
        graft(model, mechanism, options, sites[site], IMAGE)
    assert count(model) - count(network) == extra
