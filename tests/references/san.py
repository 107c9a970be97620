"""SAN's pairwise and patchwise self-attention, from their equations, in NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.references._layers import batch_norm, pointwise, relu, softmax

CASES = [{}, {"kernel": 3}, {"kind": "patchwise", "kernel": 3, "share": 2}, {"kind": "patchwise"}]
CHANNELS = 32
TAIL = 2 * 64 + 64 * 256 + 256  # what follows the layer in the authors' network: BN and a 1x1 convolution
COUNTS = [(256, {}, 25_170 + TAIL), (256, {"kind": "patchwise"}, 36_216 + TAIL)]
FIRST = [(16, 256), (16,), (16, 256), (16,), (64, 256), (64,)]
LAST = [(64,), (64,), (256, 64), (256,)]
OFFICIAL = [
    (256, {}, [*FIRST, (18,), (18,), (16, 18), (16,), (16,), (8, 16), (8,), (2, 2), (2,), *LAST]),
    (
        256,
        {"kind": "patchwise"},
        [*FIRST, (800,), (800,), (8, 800), (8,), (8,), (392, 8), (392,), *LAST],
    ),
]


def patches(x, kernel):
    """(b, c, h, w) -> (b, c, k k, h, w), the border reflected."""
    h, w = x.shape[2:]
    reach = kernel // 2
    x = np.pad(x, ((0, 0), (0, 0), (reach, reach), (reach, reach)), mode="reflect")
    return np.stack([x[:, :, i : i + h, j : j + w] for i in range(kernel) for j in range(kernel)], 2)


def weigh(z, p, training):
    for norm, conv in ((0, 2), (3, 5)):
        z = pointwise(relu(batch_norm(z, p, f"weigh.{norm}", training)), p, f"weigh.{conv}")
    return z


def pairwise(phi, psi, p, kernel, training):
    b, _, h, w = phi.shape
    places = np.stack(np.broadcast_arrays(np.linspace(-1, 1, w), np.linspace(-1, 1, h)[:, None]))
    places = np.repeat(pointwise(places[None], p, "position"), b, 0)
    own, others = np.concatenate([phi, places], 1), np.concatenate([psi, places], 1)
    return softmax(weigh(own[:, :, None] - patches(others, kernel), p, training), 2)


def patchwise(phi, psi, p, kernel, training):
    b, _, h, w = phi.shape
    patch = patches(psi, kernel).reshape(b, -1, h, w)
    return weigh(np.concatenate([phi, patch], 1), p, training).reshape(b, -1, kernel**2, h, w)


def forward(x, p, options, training):
    kernel = options.get("kernel", 7)
    make = patchwise if options.get("kind") == "patchwise" else pairwise
    g = make(pointwise(x, p, "phi"), pointwise(x, p, "psi"), p, kernel, training)
    values = patches(pointwise(x, p, "value"), kernel)
    y = np.stack([(g[:, c % g.shape[1]] * values[:, c]).sum(1) for c in range(values.shape[1])], 1)
    return pointwise(relu(batch_norm(y, p, "norm", training)), p, "expand")


def standing_for(conv, size, **options):
    from attnbench.mechanisms.base import Place
    from attnbench.mechanisms.spatial.san import SAN

    return SAN.at(Place("conv2", conv.in_channels, size, replaces=conv), **options).eval()


@pytest.mark.parametrize("kind", ["pairwise", "patchwise"])
@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
def test_with_a_stride_every_second_position_asks(kind, size):
    narrow, wide, x = nn.Conv2d(16, 32, 3, 2, 1), nn.Conv2d(16, 32, 3, 1, 1), torch.randn(2, 16, *size)
    one, two = standing_for(narrow, size, kind=kind), standing_for(wide, size, kind=kind)
    two.load_state_dict(one.state_dict())
    assert one(x).shape == narrow(x).shape
    torch.testing.assert_close(one(x), two(x)[:, :, ::2, ::2])


def test_a_map_too_small_to_reflect_is_refused_in_words():
    from attnbench.errors import UserError

    with pytest.raises(UserError, match="2x9 cannot be reflected by 3 positions: take a kernel of 3 at most"):
        standing_for(nn.Conv2d(16, 16, 3, 1, 1), (2, 9))(torch.zeros(1, 16, 2, 9))
