"""FcaNet, from its equations, in NumPy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from attnbench.errors import Impossible, UserError
from attnbench.mechanisms.base import Place
from attnbench.mechanisms.channel.fca import Fca
from tests.references._layers import linear, relu, sigmoid

CASES = [{}, {"frequencies": "low8"}, {"frequencies": "bot32"}, {"size": "auto"}]
CASES += [{"frequencies": "top32", "size": 14}]
SIZE = (14, 7)
COUNTS = [(64, {}, 512), (256, {}, 8_192), (512, {}, 32_768), (2048, {}, 524_288)]
OFFICIAL = (256, {}, [(16, 256), (256, 16)])

ROWS = {
    "top": [0, 0, 6, 0, 0, 1, 1, 4, 5, 1, 3, 0, 0, 0, 3, 2, 4, 6, 3, 5, 5, 2, 6, 5, 5, 3, 3, 4, 2, 2, 6, 1],
    "low": [0, 0, 1, 1, 0, 2, 2, 1, 2, 0, 3, 4, 0, 1, 3, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4],
    "bot": [6, 1, 3, 3, 2, 4, 1, 2, 4, 4, 5, 1, 4, 6, 2, 5, 6, 1, 6, 2, 2, 4, 3, 3, 5, 5, 6, 2, 5, 5, 3, 6],
}
COLUMNS = {
    "top": [0, 1, 0, 5, 2, 0, 2, 0, 0, 6, 0, 4, 6, 3, 5, 2, 6, 3, 3, 3, 5, 1, 1, 2, 4, 2, 1, 1, 3, 0, 5, 3],
    "low": [0, 1, 0, 1, 2, 0, 1, 2, 2, 3, 0, 0, 4, 3, 1, 5, 4, 3, 2, 1, 0, 6, 5, 4, 3, 2, 1, 0, 6, 5, 4, 3],
    "bot": [6, 4, 4, 6, 6, 3, 1, 4, 4, 5, 6, 5, 2, 2, 5, 1, 4, 3, 5, 0, 3, 1, 1, 2, 4, 2, 1, 1, 5, 3, 3, 3],
}


def windows(n, size):
    """Bounds of the windows that adaptive average pooling from n to `size` positions takes."""
    return [(i * n // size, -(-(i + 1) * n // size)) for i in range(size)]


def pooled(x, size):
    rows, columns = windows(x.shape[2], size), windows(x.shape[3], size)
    return np.array([[x[:, :, a:b, c:d].mean((2, 3)) for c, d in columns] for a, b in rows]).transpose(
        2, 3, 0, 1
    )


def wave(u, p, length):
    return np.cos(np.pi * u * (p + 0.5) / length) / np.sqrt(length) * (np.sqrt(2) if u else 1)


def forward(x, p, options, training):
    size, frequencies = options.get("size", 7), options.get("frequencies", "top16")
    size = 7 if size == "auto" else size
    kind, count = frequencies[:3], int(frequencies[3:])
    small, share = pooled(x, size), x.shape[1] // count
    s = np.zeros(x.shape[:2])
    for c in range(x.shape[1]):
        u, v = (table[kind][c // share] * (size // 7) for table in (ROWS, COLUMNS))
        for i in range(size):
            for j in range(size):
                s[:, c] += small[:, c, i, j] * wave(u, i, size) * wave(v, j, size)
    z = relu(linear(s, p, "reduce"))
    return x * sigmoid(linear(z, p, "expand"))[:, :, None, None]


@pytest.mark.parametrize("size", [7, 8, 14, 28, 56])
def test_every_frequency_is_another_filter(size):
    flat = Fca(64, size=size).basis.flatten(1)
    assert torch.linalg.matrix_rank(flat) == 16


@pytest.mark.parametrize(("side", "size"), [(56, 56), (28, 28), (14, 14), (7, 7), (4, 7), (32, 32)])
def test_built_for_a_place_it_transforms_the_map_there_but_none_below_seven(side, size):
    for options in ({}, {"size": "auto"}):
        assert Fca.at(Place("x", 64, (side, side)), **options).size == size
    assert Fca.at(Place("x", 64, (side, side)), size=7).size == 7


def test_a_size_that_is_no_number_is_refused():
    with pytest.raises(UserError, match="size=full: auto, or a number"):
        Fca(64, size="full")


def test_below_seven_it_refuses_to_become_se():
    with pytest.raises(UserError, match="becomes SE"):
        Fca(64, size=4)


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (6, 6)])
def test_on_maps_below_seven_it_still_sees_more_than_the_mean(size):
    module, x = Fca(64), torch.randn(4, 64, *size)
    x = x - x.mean((2, 3), keepdim=True)
    assert (module.spectrum(x).abs() > 1e-3).float().mean() > 0.5


def test_one_position_has_no_spectrum():
    with pytest.raises(Impossible, match="1x1"):
        Fca.at(Place("probe", 64, (1, 1)))


def test_the_constant_frequency_is_size_times_the_mean():
    x = torch.randn(2, 64, 14, 14)
    torch.testing.assert_close(Fca(64, frequencies="top1").spectrum(x), 7 * x.mean((2, 3)))


@pytest.mark.parametrize("size", [(7, 7), (14, 56), (28, 28)])
def test_every_way_of_averaging_is_the_same(size):
    module, x = Fca(64).double(), torch.randn(2, 64, *size, dtype=torch.float64)
    expected = module.spectrum(F.adaptive_avg_pool2d(x, 7))
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.testing.assert_close(module.spectrum(x.contiguous(memory_format=layout)), expected)


def test_the_size_of_a_stage_keeps_its_frequencies():
    module = Fca(32, size=14)
    assert module.pairs[2] == (12, 0) and Fca(32).pairs[2] == (6, 0)


def test_narrow_maps_take_the_best_frequencies_that_divide_them():
    assert len(Fca(24).pairs) == 8 and Fca(24).pairs == Fca(64).pairs[:8]


def test_unknown_frequencies_are_named():
    with pytest.raises(UserError, match="top16"):
        Fca(64, frequencies="top15")


def test_the_basis_is_exact_in_every_dtype_and_in_no_state_dict():
    module = Fca(64).half().double()
    assert torch.equal(module.basis, Fca(64).double().basis)
    torch.testing.assert_close(module.basis.flatten(1).norm(dim=1), torch.ones(16, dtype=torch.float64))
    assert set(module.state_dict()) == {"reduce.weight", "expand.weight"}
