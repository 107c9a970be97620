"""ResNeSt's split attention, from its equations, in NumPy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attnbench.errors import Impossible, UserError
from attnbench.mechanisms.base import Place
from attnbench.mechanisms.branch.resnest import ResNeSt
from tests.references._layers import batch_norm, conv2d, relu, sigmoid, softmax

CASES = [{}, {"radix": 4, "cardinality": 2}, {"radix": 1, "reduction": 2}]
CHANNELS = 32
BATCH = 3
COUNTS = [(64, {}, 43_488), (256, {}, 690_048), (512, {}, 2_756_352)]
OFFICIAL = [
    (256, {}, [(512, 128, 3, 3), (512,), (512,), (128, 256), (128,), (128,), (128,), (512, 128), (512,)]),
    (
        256,
        {"cardinality": 2},
        [(512, 64, 3, 3), (512,), (512,), (128, 128), (128,), (128,), (128,), (512, 64), (512,)],
    ),
]


def forward(x, p, options, training):
    radix, groups = options.get("radix", 2), options.get("cardinality", 1)
    u = conv2d(x, p, "conv", padding=1, groups=groups * radix)
    u = relu(batch_norm(u, p, "norm", training))
    u = u.reshape(len(x), radix, -1, *u.shape[2:])
    s = u.sum(1).mean((2, 3), keepdims=True)
    z = relu(batch_norm(conv2d(s, p, "reduce", groups=groups), p, "hidden_norm", training))
    logits = conv2d(z, p, "expand", groups=groups).reshape(len(x), groups, radix, -1)
    gate = softmax(logits, axis=2) if radix > 1 else sigmoid(logits)
    gate = gate.swapaxes(1, 2).reshape(len(x), radix, -1, 1, 1)
    return (gate * u).sum(1)


def at(conv, **options):
    return ResNeSt.at(Place("conv2", conv.in_channels, (8, 8), replaces=conv), **options)


@pytest.mark.parametrize("pool", ["after", "before", "none"])
@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
def test_it_halves_the_map_where_the_convolution_did(pool, size):
    conv, x = nn.Conv2d(32, 64, 3, stride=2, padding=1), torch.randn(2, 32, *size)
    assert at(conv, pool=pool)(x).shape == conv(x).shape


def test_the_stride_goes_to_the_pool_unless_told():
    conv, x = nn.Conv2d(32, 32, 3, stride=2, padding=1), torch.randn(2, 32, 8, 8)
    after, before, none = (at(conv, pool=pool).eval() for pool in ("after", "before", "none"))
    assert [m.conv.stride for m in (after, before, none)] == [(1, 1), (1, 1), (2, 2)]
    for other in (before, none):
        other.load_state_dict(after.state_dict())
    kept = at(nn.Conv2d(32, 32, 3, padding=1)).eval()
    kept.load_state_dict(after.state_dict())
    torch.testing.assert_close(after(x), F.avg_pool2d(kept(x), 3, 2, 1))
    torch.testing.assert_close(before(x), kept(F.avg_pool2d(x, 3, 2, 1)))


def test_cardinality_is_that_of_the_replaced_convolution():
    assert at(nn.Conv2d(128, 128, 3, padding=1, groups=32)).conv.groups == 64


def test_depth_wise_convolutions_cannot_be_split():
    with pytest.raises(Impossible, match="do not split"):
        at(nn.Conv2d(96, 96, 3, padding=1, groups=96))


def test_the_shares_of_the_splits_sum_to_one():
    gate = at(nn.Conv2d(32, 32, 3, padding=1), radix=4).g(torch.randn(2, 32, 5, 5))
    torch.testing.assert_close(gate.sum(1), torch.ones(2, 32, 1, 1))


def test_one_image_in_training_is_refused_in_words():
    with pytest.raises(UserError, match="2 images a batch"):
        at(nn.Conv2d(32, 32, 3))(torch.randn(1, 32, 4, 4))


def test_an_unknown_pool_is_refused():
    with pytest.raises(UserError, match="before"):
        at(nn.Conv2d(32, 32, 3), pool="befor")


def test_whole_module_by_hand():
    """Two channels, one position, weights of one: the numbers can be followed on paper."""
    module = ResNeSt(2, nn.Conv2d(2, 2, 1)).eval()
    for p in module.parameters():
        nn.init.ones_(p)
    y = module(torch.tensor([[[[1.0]], [[2.0]]]])).flatten()
    scale = 1 / np.sqrt(1 + 1e-5)
    first, second = 1 * scale + 1, 2 * scale + 1
    np.testing.assert_allclose(y.detach().numpy(), [(first + second) / 2] * 2, rtol=1e-6)
