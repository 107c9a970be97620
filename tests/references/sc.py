"""Self-calibrated convolution, from its equations, in NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from attnbench.errors import Impossible
from attnbench.mechanisms.base import Place
from attnbench.mechanisms.channel_spatial.sc import SC
from tests.references._layers import batch_norm, conv2d, sigmoid

CASES = [{}, {"pool": 2}]
CHANNELS = 16
SIZE = (9, 8)
COUNTS = [(16, {}, 9 * 256 + 32), (256, {}, 590_336)]
HALF, NORM = (128, 128, 3, 3), (128,)
OFFICIAL = (256, {}, [HALF, HALF, NORM, NORM, HALF, NORM, NORM, HALF])


def forward(x, p, options, training):
    r = options.get("pool", 4)
    a, b = np.split(x, 2, 1)
    h, w = b.shape[2] // r * r, b.shape[3] // r * r
    pooled = b[:, :, :h, :w].reshape(*b.shape[:2], h // r, r, w // r, r).mean((3, 5))
    context = batch_norm(conv2d(pooled, p, "context", 1), p, "context_norm", training)
    up = [np.arange(n) * k // n for n, k in zip(b.shape[2:], context.shape[2:])]
    gate = sigmoid(b + context[:, :, up[0]][:, :, :, up[1]])
    content = batch_norm(conv2d(b, p, "content", 1), p, "content_norm", training)
    return np.concatenate([conv2d(a, p, "plain", 1), conv2d(content * gate, p, "calibrated", 1)], 1)


def test_the_calibrated_half_has_the_published_count():
    """The last norm, 2 numbers a channel, is the block's own."""
    module = SC(256, nn.Conv2d(256, 256, 3, padding=1, bias=False))
    assert sum(p.numel() for p in module.parameters()) - module.plain.weight.numel() + 2 * 128 == 443_136


@pytest.mark.parametrize(
    ("settings", "groups"),
    [({"stride": 2}, 1), ({"dilation": 2, "padding": 2}, 1), ({"groups": 4}, 2), ({"groups": 16}, 8)],
)
def test_it_maps_as_the_convolution_that_it_replaces(settings, groups):
    conv = nn.Conv2d(16, 16, 3, **{"padding": 1, **settings})
    x = torch.randn(2, 16, 10, 10)
    module = SC.at(Place("conv2", 16, (10, 10), replaces=conv))
    assert module(x).shape == conv(x).shape
    assert module.content.groups == groups


def test_widths_of_input_and_output_may_differ():
    conv = nn.Conv2d(6, 10, 3, 2, 1)
    module = SC.at(Place("conv2", 6, (8, 8), replaces=conv))
    assert module(torch.randn(2, 6, 8, 8)).shape == (2, 10, 4, 4)


def test_one_channel_is_refused():
    with pytest.raises(Impossible, match="at least 2 channels"):
        SC.at(Place("conv2", 1, (8, 8)))
