"""Efficient multi-scale attention, from its equations, in NumPy."""

import numpy as np
import pytest

from attnbench.mechanisms.channel_spatial.ema_multi_scale import EMAMultiScale
from tests.references._layers import conv2d, pointwise, sigmoid, softmax

CASES = [{}, {"groups": 8}]
CHANNELS = 64
COUNTS = [(64, {"groups": 8}, 672), (256, {}, 672), (256, {"groups": 8}, 10_368)]
OFFICIAL = (256, {}, [(8, 8), (8,), (8,), (8,), (8, 8, 3, 3), (8,)])


def forward(x, p, options, training):
    n = options.get("groups", 32)
    return np.concatenate([weighed(part, p) for part in np.split(x, n, 1)], 1)


def weighed(x, p):
    """One group of channels (b, d, h, w) times its map."""
    h = x.shape[2]
    strips = np.concatenate([x.mean(3), x.mean(2)], 2)
    gates = sigmoid(pointwise(strips, p, "reduce"))
    z = x * gates[:, :, :h, None] * gates[:, :, None, h:]
    spread = np.sqrt(z.var((2, 3), keepdims=True) + 1e-5)
    a = (z - z.mean((2, 3), keepdims=True)) / spread
    a = a * p["norm.weight"][:, None, None] + p["norm.bias"][:, None, None]
    b = conv2d(x, p, "local", padding=1)
    of_a, of_b = (softmax(z.mean((2, 3)), 1) for z in (a, b))
    scores = np.einsum("bd,bdhw->bhw", of_a, b) + np.einsum("bd,bdhw->bhw", of_b, a)
    return x * sigmoid(scores)[:, None]


@pytest.mark.parametrize(
    ("channels", "groups"), [(256, 32), (48, 16), (32, 32), (16, 8), (12, 2), (7, 1), (1, 1)]
)
def test_groups_divide_the_channels(channels, groups):
    assert EMAMultiScale(channels).groups == groups
