"""Stand-alone self-attention, from its equations, in NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.references._layers import pointwise, softmax

CASES = [{"kernel": 3}, {"kernel": 5, "border": "zero", "heads": 2}, {}]
CHANNELS = 16
COUNTS = [(256, {}, 198_400), (64, {}, 3 * 64**2 + 64 * 7), (256, {"kernel": 3}, 3 * 256**2 + 256 * 3)]
OFFICIAL = (256, {}, [(128, 7), (128, 7), (256, 256), (256, 256), (256, 256)])


def window(i, j, h, w, reach, zero):
    """Positions around (i, j) with their offsets; beyond the map too if they count there."""
    for a in range(-reach, reach + 1):
        for b in range(-reach, reach + 1):
            inside = 0 <= i + a < h and 0 <= j + b < w
            if inside or zero:
                yield (i + a, j + b), (a + reach, b + reach), inside


def forward(x, p, options, training):
    b, c, h, w = x.shape
    kernel, zero = options.get("kernel", 7), options.get("border") == "zero"
    heads = min(options.get("heads", 8), max(c // 8, 1))
    q, k, v = (pointwise(x, p, n).reshape(b, heads, -1, h, w) for n in ("query", "key", "value"))
    rows, columns = (p[name].reshape(heads, -1, kernel) for name in ("rows", "columns"))
    y = np.zeros_like(q)
    for i in range(h):
        for j in range(w):
            scores, values = [], []
            for (r, s), (a, e), inside in window(i, j, h, w, kernel // 2, zero):
                relative = np.concatenate([rows[:, :, a], columns[:, :, e]], 1)
                key = k[..., r, s] if inside else 0 * relative
                scores.append((q[..., i, j] * (key + relative)).sum(2))
                values.append(v[..., r, s] if inside else 0 * v[..., 0, 0])
            a = softmax(np.stack(scores, 2), 2)
            y[..., i, j] = np.einsum("bgt,bgdt->bgd", a, np.stack(values, 3))
    return y.reshape(b, c, h, w)


def standing_for(conv, size, **options):
    from attnbench.mechanisms.base import Place
    from attnbench.mechanisms.spatial.sasa import SASA

    return SASA.at(Place("conv2", conv.in_channels, size, replaces=conv), **options)


@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
def test_it_maps_as_the_convolution_with_a_stride_does(size):
    conv, x = nn.Conv2d(16, 32, 3, 2, 1), torch.randn(2, 16, *size)
    assert standing_for(conv, size)(x).shape == conv(x).shape


def test_the_stride_averages_what_attention_gives_everywhere():
    narrow, wide = nn.Conv2d(16, 16, 3, 2, 1), nn.Conv2d(16, 16, 3, 1, 1)
    one, two, x = standing_for(narrow, (6, 6)), standing_for(wide, (6, 6)), torch.randn(2, 16, 6, 6)
    two.load_state_dict(one.state_dict())
    torch.testing.assert_close(one(x), torch.nn.functional.avg_pool2d(two(x), 2))


def test_masked_borders_give_nothing_to_what_lies_outside_and_zero_borders_do():
    x = torch.randn(1, 16, 4, 4)
    for border, rest in (("mask", False), ("zero", True)):
        g = standing_for(nn.Conv2d(16, 16, 3, 1, 1), (4, 4), kernel=3, border=border).g(x)
        torch.testing.assert_close(g.sum(2), torch.ones_like(g[:, :, 0]))
        beyond_the_corner = g[:, :, [0, 1, 2, 3, 6], 0, 0]
        assert bool((beyond_the_corner > 0).all()) is rest


def test_what_is_no_convolution_and_even_windows_are_refused():
    from attnbench.errors import Impossible, UserError
    from attnbench.mechanisms.base import Place
    from attnbench.mechanisms.spatial.sasa import SASA

    with pytest.raises(Impossible, match="not of a Linear"):
        SASA.at(Place("fc", 16, (4, 4), replaces=nn.Linear(3, 3)))
    with pytest.raises(UserError, match="odd size"):
        standing_for(nn.Conv2d(16, 16, 3), (4, 4), kernel=4)
