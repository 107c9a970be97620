"""CBAM, from its equations, in NumPy."""

import numpy as np
import pytest

from tests.references._layers import batch_norm, conv2d, linear, relu, sigmoid

CASES = [{}, {"half": False}, {"kernel": 3, "reduction": 8}]
COUNTS = [(256, {}, 8_564), (512, {}, 33_412), (2048, {}, 526_564)]
OFFICIAL = (256, {}, [(16, 256), (16,), (256, 16), (256,), (1, 2, 7, 7), (1,), (1,)])


def forward(x, p, options, training):
    def mlp(z):
        return linear(relu(linear(z, p, "reduce")), p, "expand")

    x = x * sigmoid(mlp(x.mean((2, 3))) + mlp(x.max((2, 3))))[:, :, None, None]
    z = conv2d(np.stack([x.max(1), x.mean(1)], 1), p, "conv", padding=options.get("kernel", 7) // 2)
    return x * sigmoid(batch_norm(z, p, "norm", training))


@pytest.mark.parametrize("half", [True, False])
def test_the_spatial_gate_of_a_fresh_module(half):
    import torch

    from attnbench.mechanisms.channel_spatial.cbam import CBAM

    gate = CBAM(16, half=half).spatial(torch.randn(2, 16, 5, 6))
    assert bool((gate == 0.5).all()) is half


def test_the_kernel_is_seven_and_the_maximum_comes_first():
    import torch

    from attnbench.mechanisms.channel_spatial.cbam import CBAM

    module = CBAM(16, half=False)
    assert module.conv.weight.shape == (1, 2, 7, 7)
    assert module.norm.momentum == 0.01
    seen = []
    module.conv.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    module.spatial(torch.arange(16.0).view(1, 16, 1, 1).expand(1, 16, 3, 3))
    assert seen[0][0, :, 0, 0].tolist() == [15.0, 7.5]
