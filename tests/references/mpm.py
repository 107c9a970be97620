"""Mixed pooling module, from its equations, in NumPy."""

import numpy as np
import pytest
import torch

from attnbench.mechanisms.channel_spatial.mpm import MPM, sizes
from tests.references._layers import adaptive_mean, batch_norm, bilinear, conv2d, relu

CASES = [{}, {"pools": [5, 3]}, {"reduction": 2}]
CHANNELS = 16
COUNTS = [(256, {}, 276_096), (1024, {}, 4_397_568)]
OFFICIAL = (
    256,
    {},
    [
        *((64, 256), (64,), (64,)),
        *((64, 64, 3, 3), (64,), (64,)) * 4,
        *((64, 256), (64,), (64,)),
        *((64, 64, 1, 3), (64,), (64,)),
        *((64, 64, 3, 1), (64,), (64,)),
        *((64, 64, 3, 3), (64,), (64,)),
        *((256, 128), (256,), (256,)),
    ],
)


def forward(x, p, options, training):
    def block(z, name, padding=0):
        return batch_norm(conv2d(z, p, f"{name}.0", padding=padding), p, f"{name}.1", training)

    h, w = x.shape[2:]
    z = relu(block(x, "reduce_pyramid"))
    pyramid = block(z, "fine", 1)
    sides = options.get("pools") or (min(h, w) // 2, min(h, w) // 4)
    for name, side in zip(("middle", "coarse"), sides):
        pyramid += bilinear(block(adaptive_mean(z, side, side), name, 1), h, w)
    z = relu(block(x, "reduce_strips"))
    strips = block(z.mean(2, keepdims=True), "columns", (0, 1)) + block(
        z.mean(3, keepdims=True), "rows", (1, 0)
    )
    both = relu(block(relu(pyramid), "pyramid", 1)), relu(block(relu(strips), "strips", 1))
    return relu(x + block(np.concatenate(both, 1), "expand"))


@pytest.mark.parametrize(
    ("size", "expected"), [((96, 64), (20, 12)), ((20, 20), (20, 12)), ((8, 8), (4, 2)), ((1, 6), (1, 1))]
)
def test_coarse_maps_suit_the_map(size, expected):
    assert sizes(size) == expected


def test_the_authors_sides_serve_large_maps():
    given, default = MPM(8, pools=[20, 12]).eval(), MPM(8).eval()
    given.load_state_dict(default.state_dict())
    x = torch.randn(1, 8, 21, 24)
    assert torch.equal(given(x), default(x))
