"""Spatial transformer, from its equations, in NumPy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from attnbench.checks.suite import Case
from attnbench.errors import UserError
from attnbench.mechanisms.spatial.stn import STN, sample
from tests.references._layers import adaptive_mean, conv2d, linear, max_pool, relu

CASES = [{}, {"form": "attention"}]
CHANNELS = 16
SIZE = (12, 9)
COUNTS = [(1, {}, 12_286), (3, {}, 13_286), (1, {"form": "attention"}, 12_286 - 63)]
OFFICIAL = (1, {}, [(20, 1, 5, 5), (20,), (20, 20, 5, 5), (20,), (20, 80), (20,), (6, 20), (6,)])


def forward(x, p, options, training):
    z = x
    for name in ("first", "second"):
        z = relu(conv2d(pooled(z), p, name, padding=2))
    z = linear(relu(linear(adaptive_mean(z, 2, 2).reshape(len(x), -1), p, "reduce")), p, "predict")
    return np.stack([transformed(image, matrix(row)) for image, row in zip(x, z)])


def pooled(z):
    """2x2 max pooling, whose last window may be cut off."""
    h, w = z.shape[2:]
    full = np.pad(z, ((0, 0), (0, 0), (0, h % 2), (0, w % 2)), constant_values=-np.inf)
    return max_pool(full, 2)


def matrix(z):
    return z.reshape(2, 3) if len(z) == 6 else np.array([[z[0], 0, z[1]], [0, z[0], z[2]]])


def transformed(image, theta):
    """One image (c, h, w), each position read at its place under the affine map."""
    y, (_, h, w) = np.zeros_like(image), image.shape
    for i in range(h):
        for j in range(w):
            across, down = theta @ (2 * j / (w - 1) - 1, 2 * i / (h - 1) - 1, 1)
            y[:, i, j] = between(image, (down + 1) / 2 * (h - 1), (across + 1) / 2 * (w - 1))
    return y


def between(image, row, column):
    """The image at a point, by bilinear interpolation; zeros outside."""
    total = np.zeros(image.shape[0])
    for i in (int(np.floor(row)), int(np.floor(row)) + 1):
        for j in (int(np.floor(column)), int(np.floor(column)) + 1):
            if 0 <= i < image.shape[1] and 0 <= j < image.shape[2]:
                total += image[:, i, j] * (1 - abs(row - i)) * (1 - abs(column - j))
    return total


@pytest.mark.parametrize("size", [(32, 32), (28, 28), (8, 8), (7, 5), (1, 9), (33, 2)])
@pytest.mark.parametrize("form", ["affine", "attention"])
@pytest.mark.parametrize("channels", [3, 128])
def test_it_starts_as_the_identity_to_the_last_bit(size, form, channels):
    x = torch.randn(2, channels, *size)
    assert torch.equal(STN(channels, form=form)(x), x)


def test_corners_are_aligned_in_grid_and_sampler_alike():
    x, theta = torch.randn(2, 3, 11, 6), torch.randn(2, 2, 3)
    aligned, mixed = (F.affine_grid(theta, list(x.shape), align_corners=a) for a in (True, False))
    ours = STN(3).f(theta, x)
    torch.testing.assert_close(ours, F.grid_sample(x, aligned, align_corners=True), rtol=1e-4, atol=1e-5)
    assert (ours - F.grid_sample(x, mixed, align_corners=True)).abs().max() > 0.1


def test_the_first_row_moves_along_x():
    x = torch.arange(5.0).expand(1, 1, 3, 5)
    right = torch.tensor([[[1.0, 0, 0.5], [0, 1, 0]]])
    assert STN(1).f(right, x)[0, 0].tolist() == [[1, 2, 3, 4, 0]] * 3


def test_points_between_positions_and_outside():
    x = torch.tensor([[[[1.0, 3.0, 5.0]]]])
    columns = torch.tensor([[[0.5, -0.5, 2.25, -2.0]]])
    assert sample(x, torch.zeros(1, 1, 4), columns).tolist() == [[[[2.0, 0.5, 3.75, 0.0]]]]


def test_the_demo_network_is_met_at_its_own_size():
    """Of 32x32 its last map is 2x2, so that nothing is padded and nothing averaged."""
    module, x = Case(STN, channels=1, size=(32, 32)).trained(), torch.randn(2, 1, 32, 32).double()
    z = module.first(F.max_pool2d(x, 2)).relu()
    z = module.second(F.max_pool2d(z, 2)).relu()
    torch.testing.assert_close(module.g(x).flatten(1), module.predict(module.reduce(z.flatten(1)).relu()))


def test_an_unknown_form_is_refused():
    with pytest.raises(UserError, match="attention"):
        STN(3, form="scale")


@pytest.mark.parametrize("size", [(9, 14), (8, 16)])
def test_both_ways_to_read_are_the_same_with_their_gradients(monkeypatch, size):
    from attnbench.mechanisms.spatial import stn

    case = Case(STN, channels=stn.MANY, size=size)
    results = []
    for many in (1, stn.MANY + 1):
        monkeypatch.setattr(stn, "MANY", many)
        module, x = case.trained(), case.x()
        y = module(x)
        (y * case.x(2).detach()).sum().backward()
        results.append((y, x.grad, module.predict.weight.grad))
    for one, other in zip(*results):
        torch.testing.assert_close(one, other)
