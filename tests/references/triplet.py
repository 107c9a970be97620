"""Triplet attention, from its equations, in NumPy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from attnbench.errors import UserError
from attnbench.mechanisms.channel_spatial.triplet import Triplet
from attnbench.mechanisms.layers.plane_conv import PlaneConv2d
from tests.references._layers import batch_norm, conv2d, sigmoid

CASES = [{}, {"spatial": False}, {"kernel": 3}]
CHANNELS = 12
COUNTS = [(16, {}, 300), (256, {}, 300), (64, {"spatial": False}, 200)]
OFFICIAL = (256, {}, [(1, 2, 7, 7), (1,), (1,)] * 3)


def gated(t, p, name, training, kernel):
    """t times its gate, which is pooled over the first axis behind the batch."""
    pooled = np.stack([t.max(1), t.mean(1)], 1)
    z = conv2d(pooled, p, f"{name}.0", padding=kernel // 2)
    return t * sigmoid(batch_norm(z, p, f"{name}.1", training))


def forward(x, p, options, training):
    kernel = options.get("kernel", 7)
    swapped = gated(x.transpose(0, 2, 1, 3), p, "channel_width", training, kernel).transpose(0, 2, 1, 3)
    turned = gated(x.transpose(0, 3, 2, 1), p, "height_channel", training, kernel).transpose(0, 3, 2, 1)
    if not options.get("spatial", True):
        return (swapped + turned) / 2
    return (swapped + turned + gated(x, p, "height_width", training, kernel)) / 3


def test_no_gate_is_bound_below_by_one_half():
    module = Triplet(16).eval()
    for name, p in module.named_parameters():
        if name.endswith("1.bias"):
            torch.nn.init.constant_(p, -3.0)
    assert module.g(torch.zeros(1, 16, 5, 4)).max() < 0.1


@pytest.mark.parametrize("width", [1, 5, 64, 65])
def test_products_with_bands_are_the_convolution(width):
    layer, x = PlaneConv2d(2, 7).double(), torch.randn(2, 2, 6, width, dtype=torch.float64)
    weight = layer.weight.detach().clone().requires_grad_()
    expected = F.conv2d(x, weight, padding=3)
    for y in (layer(x), layer.by_rows(x)):
        torch.testing.assert_close(y, expected)
    grads = [
        torch.autograd.grad(y.square().sum(), w)[0] for y, w in ((layer(x), layer.weight), (expected, weight))
    ]
    torch.testing.assert_close(*grads)


def test_one_position_in_training_is_refused_with_the_reason():
    with pytest.raises(UserError, match="at least 2 images"):
        Triplet(8)(torch.zeros(1, 8, 1, 1))
