"""Local relation layer, from its equations, in NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.references._layers import linear, pointwise, relu, softmax

CASES = [
    {"kernel": 3},
    {},
    {"kernel": 3, "relation": "dot", "share": 4},
    {"kernel": 3, "relation": "key"},
    {"kernel": 3, "relation": "abs"},
    {"kernel": 3, "relation": "abs_norm"},
    {"kernel": 3, "relation": "square_norm"},
]
CHANNELS = 16
COUNTS = [(256, {}, 82_832), (256, {"kernel": 3}, 82_832)]
OFFICIAL = (
    256,
    {},
    [(32, 256), (32,), (32, 256), (32,), (16, 2), (16,), (32, 16), (32,), (256, 256), (256,)],
)

LIKENESS = {
    "dot": lambda q, k: q * k,
    "key": lambda q, k: k,
    "abs": lambda q, k: -abs(q - k),
    "abs_norm": lambda q, k: -abs(q - k) / (1 + abs(q) + abs(k)),
    "square_norm": lambda q, k: -((q - k) ** 2) / (1 + abs(q * k)),
    "square": lambda q, k: -((q - k) ** 2),
}


def forward(x, p, options, training):
    b, c, h, w = x.shape
    reach = options.get("kernel", 7) // 2
    likeness = LIKENESS[options.get("relation", "square")]
    k = pointwise(x, p, "key")
    q = k if options.get("relation") == "key" else pointwise(x, p, "query")
    groups = k.shape[1]
    values = x.reshape(b, groups, -1, h, w)
    y = np.zeros_like(values)
    offsets = [(a, e) for a in range(-reach, reach + 1) for e in range(-reach, reach + 1)]
    for i in range(h):
        for j in range(w):
            scores, taken = [], []
            for a, e in offsets:
                inside = 0 <= i + a < h and 0 <= j + e < w
                prior = linear(relu(linear(np.array([e, a], float), p, "geometry.0")), p, "geometry.2")
                alike = likeness(q[..., i, j], k[..., i + a, j + e]) if inside else -100 + 0 * q[..., i, j]
                scores.append(alike + prior)
                taken.append(values[..., i + a, j + e] if inside else 0 * values[..., 0, 0])
            weights = softmax(np.stack(scores, 2), 2)
            y[..., i, j] = np.einsum("bgt,bgmt->bgm", weights, np.stack(taken, 3))
    return pointwise(y.reshape(b, c, h, w), p, "expand")


def standing_for(conv, size, **options):
    from attnbench.mechanisms.base import Place
    from attnbench.mechanisms.spatial.lr_net import LRNet

    return LRNet.at(Place("conv2", conv.in_channels, size, replaces=conv), **options)


@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
def test_with_a_stride_every_second_position_asks(size):
    narrow, wide, x = nn.Conv2d(16, 32, 3, 2, 1), nn.Conv2d(16, 32, 3, 1, 1), torch.randn(2, 16, *size)
    one, two = standing_for(narrow, size), standing_for(wide, size)
    two.load_state_dict(one.state_dict())
    assert one(x).shape == narrow(x).shape
    torch.testing.assert_close(one(x), two(x)[:, :, ::2, ::2])


def test_what_lies_beyond_the_border_gets_next_to_nothing():
    g = standing_for(nn.Conv2d(16, 16, 3, 1, 1), (4, 4), kernel=3).g(torch.randn(1, 16, 4, 4))
    torch.testing.assert_close(g.sum(2), torch.ones_like(g[:, :, 0]))
    assert g[:, :, [0, 1, 2, 3, 6], 0, 0].max() < 1e-20
