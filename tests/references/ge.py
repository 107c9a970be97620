"""Gather-excite, from its equations, in NumPy."""

import numpy as np
import pytest
import torch

from tests.references._layers import batch_norm, conv2d, pointwise, relu, sigmoid

CASES = [
    {},
    {"variant": "theta"},
    {"variant": "minus"},
    {"variant": "minus", "extent": 2},
    {"variant": "minus", "extent": 4},
    {"variant": "theta", "extent": 8},
    {"extent": 4, "reduction": 8},
]
CHANNELS = 32
COUNTS = [
    (256, {}, 256 * 35 + 512 + 8_464),
    (256, {"variant": "theta", "extent": 2}, 2_816),
    (256, {"variant": "theta", "extent": 4}, 5_632),
    (256, {"variant": "theta", "extent": 8}, 8_448),
    (256, {"extent": 8}, 8_448 + 8_464),
    (256, {"variant": "minus", "extent": 4}, 0),
]
OFFICIAL = (256, {}, [(256, 1, 7, 5), (256,), (256,), (16, 256), (16,), (256, 16), (256,)])


def average(x, extent):
    """Means of windows of 2 extent - 1 positions, of what they hold of the map."""
    h, w = x.shape[2:]
    rows, columns = range(0, h, extent), range(0, w, extent)
    window = [
        [
            x[:, :, max(i - extent + 1, 0) : i + extent, max(j - extent + 1, 0) : j + extent].mean((2, 3))
            for j in columns
        ]
        for i in rows
    ]
    return np.moveaxis(np.array(window), (0, 1), (2, 3))


def gathered(x, p, variant, extent, training):
    if variant == "minus":
        return average(x, extent) if extent else x.mean((2, 3), keepdims=True)
    if extent == 0:
        z = np.einsum("bchw,chw->bc", x, p["gather.0.weight"][:, 0])[:, :, None, None]
        return batch_norm(z, p, "gather.1", training)
    for i in range({2: 1, 4: 2, 8: 3}[extent]):
        x = relu(x) if i else x
        x = conv2d(x, p, f"gather.{3 * i}", padding=1, stride=2, groups=x.shape[1])
        x = batch_norm(x, p, f"gather.{3 * i + 1}", training)
    return x


def forward(x, p, options, training):
    variant, extent = options.get("variant", "plus"), options.get("extent", 0)
    z = gathered(x, p, variant, extent, training)
    if variant == "plus":
        z = pointwise(relu(pointwise(relu(z), p, "excite.1")), p, "excite.3")
    h, w = x.shape[2:]
    rows, columns = np.arange(h) * z.shape[2] // h, np.arange(w) * z.shape[3] // w
    return x * sigmoid(z[:, :, rows][:, :, :, columns])


def test_the_whole_map_s_kernel_has_the_map_s_size():
    from attnbench.mechanisms.spatial.ge import GE

    assert sum(p.numel() for p in GE(256, (14, 14), "theta").parameters()) == 50_688


def test_a_map_of_another_size_is_refused_in_words():
    from attnbench.errors import UserError
    from attnbench.mechanisms.spatial.ge import GE

    with pytest.raises(UserError, match=r"7x5 as a whole, not from 9x9; take extent"):
        GE(16, (7, 5))(torch.zeros(2, 16, 9, 9))
