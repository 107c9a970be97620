"""Asymmetric fusion non-local block, from its equations, in NumPy."""

import copy

import numpy as np
import pytest
import torch

from tests.references._layers import batch_norm, pointwise
from tests.references.apnb import attended, conv_norm_relu, kept, pooled

CASES = [{}, {"dropout": 0.5, "reduction": 4, "sizes": (1, 2)}]
CHANNELS = 16
COUNTS = [(256, {}, 4 * 256 * 32 + 7 * 32 + 2 * 256**2 + 4 * 256)]
OFFICIAL = (
    256,
    {},
    [
        *[(32, 256), (32,), (32,), (32,), (32, 256), (32,), (32,), (32,), (32, 256), (32,)],
        *[(256, 32), (256,), (256, 512), (256,), (256,), (256,)],
    ],
)


def forward(x, p, options, training, low=None):
    low = x if low is None else low
    b, _, h, w = x.shape
    sizes = options.get("sizes", (1, 3, 6, 8))
    q = conv_norm_relu(x, p, "query", training)
    k = pooled(conv_norm_relu(low, p, "key", training), sizes)
    v = pooled(pointwise(low, p, "value"), sizes)
    context = attended(q.reshape(b, -1, h * w), k, v).reshape(b, -1, h, w)
    y = pointwise(np.concatenate([pointwise(context, p, "context"), x], 1), p, "fuse")
    return batch_norm(y, p, "norm", training) * kept(x.shape, options.get("dropout", 0.05), training)


def two_levels(low_channels, channels):
    from attnbench.mechanisms.base import Place
    from attnbench.mechanisms.spatial.afnb import AFNB

    model = torch.nn.Module()
    return [AFNB.at(Place("p", c, (7, 5), model=model)) for c in (low_channels, channels)]


def test_the_authors_two_levels_have_the_official_number_of_parameters():
    assert sum(p.numel() for p in two_levels(1024, 2048)[1].parameters()) == 9_971_456


@pytest.mark.parametrize("width", [24, 128])
def test_keys_and_values_come_from_the_place_before(width):
    from attnbench.checks import suite

    pair = torch.nn.ModuleList(
        suite.randomise(m, i).double().eval() for i, m in enumerate(two_levels(16, width))
    )
    pair = copy.deepcopy(pair)
    drawn = torch.Generator().manual_seed(0)
    low = torch.randn(2, 16, 9, 4, generator=drawn, dtype=torch.float64)
    high = torch.randn(2, width, 7, 5, generator=drawn, dtype=torch.float64)
    pair[0](low)
    state = {key: value.numpy() for key, value in pair[1].state_dict().items()}
    expected = forward(high.numpy(), state, {}, False, low.numpy())
    np.testing.assert_allclose(pair[1](high).detach(), expected, rtol=1e-9, atol=1e-10)
    assert pair[0].seen is None


def test_a_pass_without_the_place_before_is_refused_in_words():
    from attnbench.errors import UserError

    with pytest.raises(UserError, match="the place before"):
        two_levels(16, 16)[1](torch.zeros(2, 16, 7, 5))


def test_each_network_has_levels_of_its_own():
    first, second = two_levels(16, 32), two_levels(8, 16)
    assert first[0].lower == second[0].lower == ()
    assert second[1].lower == (second[0],)
