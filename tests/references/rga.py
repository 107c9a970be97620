"""Relation-aware global attention, from its equations, in NumPy."""

import numpy as np
import pytest
import torch

from attnbench.checks.suite import Case
from attnbench.errors import UserError
from attnbench.mechanisms.channel_spatial.rga import RGA
from tests.references._layers import batch_norm, pointwise, relu, sigmoid

CASES = [{}, {"branches": "spatial"}, {"branches": "channel"}, {"reduction": 4}]
CHANNELS = 24
SIZE = (14, 14)
COUNTS = [(256, {"branches": "spatial"}, 34_310), (256, {}, 65_160)]
HALF = [*((24, 196), (24,), (24,)) * 3, (32, 512), (32,), (32,), (4, 33), (4,), (4,), (1, 4), (1,), (1,)]
OFFICIAL = (256, {"branches": "channel"}, HALF)


def forward(x, p, options, training):
    branches, rows = options.get("branches", "both"), x.reshape(*x.shape[:2], -1)
    if branches != "channel":
        rows = rows * gate(rows, p, "spatial", training)
    if branches != "spatial":
        rows = rows * gate(rows.swapaxes(1, 2), p, "channel", training).swapaxes(1, 2)
    return rows.reshape(x.shape)


def gate(items, p, name, training):
    """Gates (b, 1, n) of n items (b, features, n), by way of the n x n matrix of relations."""

    def layer(z, part):
        return batch_norm(pointwise(z, p, f"{name}.{part}.0"), p, f"{name}.{part}.1", training)

    own, one, other = (relu(layer(items, part)) for part in ("own", "one", "other"))
    relations = np.einsum("bdi,bdj->bij", one, other)
    both = np.concatenate([relations.swapaxes(1, 2), relations], 1)
    related = batch_norm(pointwise(both, p, f"{name}.relate"), p, f"{name}.relate_norm", training)
    judged = np.concatenate([own.mean(1, keepdims=True), relu(related)], 1)
    return sigmoid(layer(relu(layer(judged, "judge.0")), "judge.1"))


@pytest.mark.parametrize(
    ("channels", "size", "count"),
    [(256, (16, 16), 82_724), (256, (64, 32), 2_673_172), (1024, (16, 8), 668_908)],
)
def test_the_published_counts_at_other_sizes(channels, size, count):
    assert sum(p.numel() for p in RGA(channels, size).parameters()) == count


def test_a_map_of_another_size_is_refused_with_both_sizes():
    with pytest.raises(UserError, match=r"8x4, but a map of 4x8 came"):
        RGA(16, (8, 4))(torch.zeros(1, 16, 4, 8))


def test_narrow_and_small_maps_keep_one_unit():
    module = RGA(4, (1, 2)).eval()
    assert module(torch.zeros(1, 4, 1, 2)).shape == (1, 4, 1, 2)


def test_no_matrix_of_all_pairs_of_positions_is_made():
    case, largest = Case(RGA, channels=8, size=(32, 32), batch=1), 0

    def note(tensor):
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        case.fresh().float()(torch.randn(1, 8, 32, 32))
    assert largest <= 2 * 1024 * 128


def test_an_unknown_branch_is_refused():
    with pytest.raises(UserError, match="spatial"):
        RGA(16, (4, 4), branches="space")
