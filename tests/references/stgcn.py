"""STGCN, from its equations, with the normalised graph written out, in NumPy."""

import numpy as np
import pytest
import torch

from attnbench.checks.case import Case
from attnbench.errors import Impossible, UserError
from attnbench.mechanisms.base import Place
from attnbench.mechanisms.spatial_temporal.stgcn import STGCN, affinity
from tests.references._layers import adaptive_mean, linear
from tests.references._recurrent import layer_norm

CASES = [{}, {"layers": 3, "structural": 1, "stripes": 2, "width": 5, "shared": True, "slope": 0.2}]
CHANNELS = 16
SIZE = (8, 5)
COUNTS = [(256, {}, 197_632 + 8 * 32 * (256 + 32) + 4 * 32 + (2 * 256 + 8 * 32 + 1) * 10)]


def spread(e):
    """D^-½ (A + I) D^-½ of squared affinities, by its definition."""
    a = e / e.sum(1, keepdims=True)
    wide = a + np.eye(len(a))
    root = np.diag(wide.sum(1) ** -0.5)
    return root @ wide @ root


def convolved(graph, x, weight, p, name, slope):
    z = layer_norm(graph @ x @ weight, p, name)
    return np.where(z > 0, z, slope * z)


def forward(x, p, options, training):
    stripes, slope = options.get("stripes", 4), options.get("slope", 0.1)
    layers, structural = options.get("layers", 2), options.get("structural", 2)
    b, t, c = x.shape[:3]
    nodes = adaptive_mean(x.reshape(b * t, c, *x.shape[3:]), stripes, 1)
    nodes = nodes[..., 0].swapaxes(1, 2).reshape(b, t, stripes, c)
    vectors = []
    for clip in range(b):
        z = nodes[clip].reshape(-1, c)
        phi = linear(z, p, "phi")
        e = (phi @ phi.T) ** 2
        for m in range(layers):
            new = convolved(spread(e), z, p[f"temporal.{m}.weight"][0], p, f"temporal.{m}.norm", slope)
            z = new + z if m else new
        parts = [z.max(0)]
        for frame in range(t):
            own = slice(frame * stripes, (frame + 1) * stripes)
            y = nodes[clip, frame]
            for m in range(structural):
                weight = p[f"structural.{m}.weight"]
                weight = weight[0 if options.get("shared") else frame]
                y = convolved(spread(e[own, own]), y, weight, p, f"structural.{m}.norm", slope)
            parts.append(y.max(0))
        vectors.append(np.concatenate([*parts, x[clip].mean((0, 2, 3))]))
    return linear(np.stack(vectors), p, "classify")


def test_temporal_branch_and_affinity_have_the_count_of_the_paper():
    module = STGCN(256, 10, frames=8)
    assert sum(p.numel() for part in (module.phi, module.temporal) for p in part.parameters()) == 197_632


def test_rows_add_up_to_one_so_that_the_normalised_graph_is_half_of_it_and_of_the_identity():
    a = affinity(torch.randn(2, 9, 4, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(a.sum(2), 1)
    for one in a:
        np.testing.assert_allclose(spread(one), (one + np.eye(9)) / 2, rtol=1e-12)


def test_affinities_do_not_know_signs():
    z = torch.randn(1, 5, 4, dtype=torch.float64)
    flipped = z * torch.tensor([1.0, -1, 1, -1, 1])[:, None]
    torch.testing.assert_close(affinity(z), affinity(flipped))


def test_frames_and_stripes_are_baked_in():
    with pytest.raises(UserError, match="a clip of 4 frames came, built for 8"):
        STGCN(8, 3, frames=8)(torch.randn(2, 4, 8, 4, 4))
    with pytest.raises(Impossible, match="height 3 is less than 4 stripes"):
        STGCN.at(Place("probe", 8, (3, 4), replaces=Case(STGCN)._place().replaces, frames=4))


def test_only_the_structural_branch_knows_the_order_of_frames():
    case = Case(STGCN, {"width": 4}, channels=8, size=SIZE)
    module, x = case.trained(), case.x()
    ours, backwards = module.embed(x), module.embed(x.flip(1))
    torch.testing.assert_close(ours[:, :8], backwards[:, :8])
    torch.testing.assert_close(ours[:, -8:], backwards[:, -8:])
    assert not torch.allclose(ours[:, 8:-8], backwards[:, 8:-8])


def test_shared_weights_are_one_for_all_frames():
    own, one = STGCN(8, 3, 8), STGCN(8, 3, 8, shared=True)
    assert [len(layer.weight) for layer in own.structural] == [8, 8]
    assert [len(layer.weight) for layer in one.structural] == [1, 1]
