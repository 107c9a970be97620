"""Coordinate attention, from its equations, in NumPy."""

import numpy as np

from tests.references._layers import batch_norm, pointwise, sigmoid

CASES = [{}, {"reduction": 4}]
COUNTS = [(64, {}, 1_688), (256, {}, 6_680)]
OFFICIAL = (256, {}, [(8, 256), (8,), (8,), (8,), (256, 8), (256,), (256, 8), (256,)])


def forward(x, p, options, training):
    h = x.shape[2]
    z = np.concatenate([x.mean(3), x.mean(2)], 2)
    z = batch_norm(pointwise(z, p, "reduce"), p, "norm", training)
    z = z * np.clip(z + 3, 0, 6) / 6
    rows = sigmoid(pointwise(z[:, :, :h], p, "rows"))
    columns = sigmoid(pointwise(z[:, :, h:], p, "columns"))
    return x * rows[:, :, :, None] * columns[:, :, None, :]


def test_rows_and_columns_are_not_exchanged():
    """A map that varies from row to row only has a gate that varies so only."""
    import torch

    from attnbench.checks.suite import randomise
    from attnbench.mechanisms.channel_spatial.coord import Coord

    x = torch.arange(5.0).view(1, 1, 5, 1).expand(1, 16, 5, 7)
    gate = randomise(Coord(16)).eval().g(x)
    assert gate.std(3).max() < 1e-6 < gate.std(2).min()
