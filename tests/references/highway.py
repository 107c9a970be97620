"""Highway layer, from its equations, in NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from attnbench.mechanisms.base import Place
from attnbench.mechanisms.branch.highway import Highway
from tests.references._layers import conv2d, relu, sigmoid

CASES = [{}, {"gate_bias": -1.0}]
CHANNELS = 16
COUNTS = [(64, {}, 73_856), (256, {}, 1_180_160), (512, {}, 4_719_616)]
OFFICIAL = (64, {}, 2 * [(64, 64, 3, 3), (64,)])


def forward(x, p, options, training):
    gate = sigmoid(conv2d(x, p, "gate", padding=1))
    return relu(conv2d(x, p, "transform", padding=1)) * gate + x * (1 - gate)


def at(conv, **options):
    return Highway.at(Place("conv2", conv.in_channels, (8, 8), replaces=conv), **options)


def test_a_fresh_layer_carries_most():
    module = at(nn.Conv2d(32, 32, 3, padding=1))
    gate = module.g(torch.randn(2, 32, 6, 6) * 0.1)
    assert gate.mean().item() == pytest.approx(1 / (1 + np.exp(2)), rel=0.05)


def test_there_are_two_affine_maps_and_no_third():
    module, x = at(nn.Conv2d(8, 8, 3, padding=1)), torch.randn(1, 8, 4, 4)
    nn.init.constant_(module.gate.bias, -100)
    nn.init.zeros_(module.gate.weight)
    assert torch.equal(module(x), x)


@pytest.mark.parametrize(("outputs", "stride"), [(32, 2), (16, 2), (24, 1), (8, 1)])
def test_what_is_carried_is_sampled_and_padded_where_the_shape_changes(outputs, stride):
    conv, x = nn.Conv2d(16, outputs, 3, stride=stride, padding=1), torch.randn(2, 16, 7, 8)
    module = at(conv)
    nn.init.constant_(module.gate.bias, -100)
    y = module(x)
    assert y.shape == conv(x).shape
    kept = min(outputs, 16)
    torch.testing.assert_close(y[:, :kept], x[:, :kept, ::stride, ::stride])
    assert y[:, kept:].abs().sum() < 1e-5


def test_half_and_single_precision_mix_under_autocast():
    module, x = at(nn.Conv2d(8, 8, 3, padding=1)), torch.randn(2, 8, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = module(x)
    torch.testing.assert_close(half.float(), module(x), rtol=0.05, atol=0.05)
