"""Selective Kernel convolution, from its equations, in NumPy."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from attnbench.errors import Impossible, UserError
from attnbench.mechanisms.base import Place
from attnbench.mechanisms.branch.sk import SK
from tests.references._layers import batch_norm, conv2d, linear, relu, softmax

CASES = [{}, {"groups": 4, "reduction": 2, "minimum": 4}, {"branches": 3}]
CHANNELS = 32
BATCH = 3
COUNTS = [
    (64, {}, 8_768),
    (256, {}, 62_528),
    (512, {}, 198_720),
    (1024, {}, 2 * (9 * 1024**2 // 32 + 2 * 1024) + 3 * 1024 * 64 + 2 * 64),
]
BRANCH = [(256, 8, 3, 3), (256,), (256,)]
OFFICIAL = (256, {}, [*BRANCH, *BRANCH, (32, 256), (32,), (32,), (512, 32)])


def forward(x, p, options, training):
    count = options.get("branches", 2)
    groups = math.gcd(options.get("groups", 32), x.shape[1])
    views = np.stack(
        [
            relu(
                batch_norm(
                    conv2d(x, p, f"branches.{i}.0", padding=i + 1, dilation=i + 1, groups=groups),
                    p,
                    f"branches.{i}.1",
                    training,
                )
            )
            for i in range(count)
        ],
        axis=1,
    )
    s = views.sum(1).mean((2, 3))
    z = relu(batch_norm(linear(s, p, "reduce"), p, "norm", training))
    chosen = softmax(linear(z, p, "select").reshape(len(x), count, -1), axis=1)
    return (chosen[..., None, None] * views).sum(1)


def at(conv, size=(8, 8), **options):
    return SK.at(Place("conv2", conv.in_channels, size, replaces=conv), **options)


def test_it_keeps_the_geometry_of_the_convolution_it_replaces():
    conv = nn.Conv2d(32, 64, 3, stride=2, padding=2, dilation=2)
    module, x = at(conv), torch.randn(2, 32, 9, 8)
    assert module(x).shape == conv(x).shape
    assert [view[0].dilation for view in module.branches] == [(2, 2), (4, 4)]


@pytest.mark.parametrize(
    ("widths", "already", "groups"),
    [((128, 128), 1, 32), ((16, 16), 1, 16), ((48, 48), 1, 16), ((96, 96), 96, 96), ((32, 48), 1, 16)],
)
def test_groups_divide_both_widths_and_are_no_fewer_than_before(widths, already, groups):
    conv = nn.Conv2d(*widths, 3, padding=1, groups=already)
    assert at(conv).branches[0][0].groups == groups


def test_hidden_units_are_at_least_the_minimum():
    assert [at(nn.Conv2d(c, c, 3)).reduce.out_features for c in (64, 512, 1024)] == [32, 32, 64]


def test_elsewhere_it_keeps_the_shape():
    x = torch.randn(2, 32, 7, 5)
    assert SK.at(Place("bn3", 32, (7, 5)))(x).shape == x.shape


def test_only_convolutions_can_be_replaced():
    with pytest.raises(Impossible, match="Linear"):
        at_linear = Place("fc", 8, (1, 1), replaces=nn.Linear(8, 8))
        SK.at(at_linear)


def test_one_image_in_training_is_refused_in_words():
    with pytest.raises(UserError, match="2 images a batch"):
        at(nn.Conv2d(32, 32, 3))(torch.randn(1, 32, 4, 4))
