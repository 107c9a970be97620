"""Deformable RoI pooling, from its equations, in NumPy."""

import numpy as np
import pytest
import torch

from attnbench.checks.suite import Case
from attnbench.errors import UserError
from attnbench.mechanisms.spatial.deform_roi import DeformRoI
from tests.references._layers import adaptive_mean, linear, pointwise, relu, sigmoid

SMALL = {"grid": 2, "bins": 3, "samples": 2}
CASES = [
    SMALL,
    {**SMALL, "version": 2, "hidden": 24},
    {**SMALL, "pool": "sensitive"},
    {**SMALL, "pool": "sensitive", "version": 2},
]
CHANNELS = 4
COUNTS = [(256, {}, 1_229_410), (256, {"version": 2}, 13_996_130 + 1025 * 49)]
OFFICIAL = (256, {"version": 2}, [(1024, 12544), (1024,), (1024, 1024), (1024,), (147, 1024), (147,)])


def forward(x, p, options, training):
    return np.stack([pooled(image, p, options) for image in x])


def pooled(image, p, options):
    n, k, s = (options[name] for name in ("grid", "bins", "samples"))
    sensitive, masked = options.get("pool") == "sensitive", options.get("version") == 2
    c, h, w = image.shape
    scores = pointwise(image[None], p, "score")[0] if sensitive else None
    offsets = pointwise(image[None], p, "offset")[0] if sensitive else None
    whole = np.zeros((c, n * k, n * k))
    for i in range(n):
        for j in range(n):
            box = box_of(h, n, i), box_of(w, n, j)
            if sensitive:
                parts = len(offsets) // k**2
                z = own(offsets, parts, box, np.zeros((2, k, k)), k, s)
            else:
                z = predicted(bins(image, box, np.zeros((2, k, k)), k, s), p).reshape(-1, k, k)
            shift = 0.1 * z[1::-1]  # x before y, as in the authors' kernel
            y = own(scores, c, box, shift, k, s) if sensitive else bins(image, box, shift, k, s)
            whole[:, i * k : i * k + k, j * k : j * k + k] = y * (sigmoid(z[2]) if masked else 1)
    return adaptive_mean(whole[None], h, w)[0]


def box_of(length, n, i):
    """First and last position of the i-th of n parts, as the kernel stretches them, and their distance."""
    first, last = np.floor(i * length / n + 0.5), np.floor((i + 1) * length / n + 0.5) - 1
    return first - 0.5, max(last + 1 - first, 0.1)


def predicted(z, p):
    z = z.reshape(-1)
    layers = sorted({name.rpartition(".")[0] for name in p if name.startswith("offset")})
    for name in layers[:-1]:
        z = relu(linear(z, p, name))
    return linear(z, p, layers[-1])


def own(maps, channels, box, shift, k, s):
    """Bin (i, j) of channel c comes from map (c k + i) k + j."""
    every = bins(maps, box, shift, k, s).reshape(channels, k, k, k, k)
    return np.einsum("cijij->cij", every)


def bins(image, box, shift, k, s):
    """Means of the points of each bin (channels, k, k); shift (2, k, k) in shares of the box."""
    _, h, w = image.shape
    y = np.zeros((len(image), k, k))
    for i in range(k):
        for j in range(k):
            starts = [a + b * d / k + t[i, j] * d for (a, d), b, t in zip(box, (i, j), shift)]
            steps = [d / k / s for _, d in box]
            points = [
                (r, q)
                for r in starts[0] + steps[0] * np.arange(s)
                for q in starts[1] + steps[1] * np.arange(s)
                if -0.5 <= r <= h - 0.5 and -0.5 <= q <= w - 0.5
            ]
            read = [between(image, min(max(r, 0), h - 1), min(max(q, 0), w - 1)) for r, q in points]
            y[:, i, j] = np.mean(read, 0) if read else 0
    return y


def between(image, row, column):
    i, j = int(row), int(column)
    down, right = row - i, column - j
    below, beside = min(i + 1, image.shape[1] - 1), min(j + 1, image.shape[2] - 1)
    upper = image[:, i, j] * (1 - right) + image[:, i, beside] * right
    lower = image[:, below, j] * (1 - right) + image[:, below, beside] * right
    return upper * (1 - down) + lower * down


def test_the_first_offset_moves_a_bin_to_the_right():
    module, x = DeformRoI(1, bins=1, samples=1), torch.arange(36.0).view(1, 1, 6, 6)

    def read(right, down):
        return float(module.f(torch.tensor([[[right / 6, down / 6]]]), x).mean())

    assert read(2, 1) - read(1, 1) == pytest.approx(1)
    assert read(1, 2) - read(1, 1) == pytest.approx(6)


def test_the_published_count_of_the_offsets_alone():
    """Version 2's last layer gives 3 numbers a bin; without masks it would be 2."""
    module = DeformRoI(256, version=2)
    masks = module.offset[-1].weight[98:].numel() + module.offset[-1].bias[98:].numel()
    assert sum(p.numel() for p in module.parameters()) - masks == 13_996_130


def test_it_starts_without_offsets():
    case = Case(DeformRoI, SMALL, channels=4)
    module, x = case.fresh(), case.x().detach().float()
    assert torch.equal(module.g(x), torch.zeros(2, 36, 2))
    case = Case(DeformRoI, {**SMALL, "version": 2}, channels=4)
    assert case.fresh().g(x)[..., 2].unique().tolist() == [0.5]


def test_a_constant_map_stays_as_it_is_wherever_bins_move():
    module = Case(DeformRoI, SMALL, channels=4).trained()
    x = torch.full((1, 4, 9, 8), 3.0).double()
    shift = 0.05 * torch.randn(1, 36, 2).double()
    torch.testing.assert_close(module.f(shift, x), x)


def test_a_bin_outside_the_map_is_zero():
    module, x = DeformRoI(2, grid=1, bins=2), torch.ones(1, 2, 4, 4)
    assert module.pooled(x, torch.full((1, 4, 2), 5.0)).eq(0).all()


@pytest.mark.parametrize("options", [{"version": 3}, {"pool": "roi"}])
def test_what_does_not_exist_is_refused(options):
    with pytest.raises(UserError):
        DeformRoI(8, **options)
