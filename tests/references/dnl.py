"""Disentangled non-local attention, from its equations, in NumPy."""

import numpy as np
import pytest
import torch

from tests.references._layers import pointwise, softmax

CASES = [{}, {"reduction": 4, "temperature": 0.1}, {"variant": "nowd"}]
CHANNELS = 16
COUNTS = [(256, {}, 131_586), (512, {}, 525_314)]
OFFICIAL = (
    256,
    {},
    [(1,), (128, 256), (128,), (128, 256), (128,), (256, 256), (1, 256), (1,)],
)


def forward(x, p, options, training):
    b, _, h, w = x.shape
    q, k, v, u = (pointwise(x, p, name).reshape(b, -1, h * w) for name in ("query", "key", "value", "unary"))
    nowd = options.get("variant") == "nowd"
    q, k = (t - t.mean((1, 2) if nowd else 2, keepdims=True) for t in (q, k))
    scale = 1 if nowd else 1 / (np.sqrt(q.shape[1]) * options.get("temperature", 0.05))
    pairs = softmax(np.einsum("bdi,bdj->bij", q, k) * scale, 2)
    pairwise = np.einsum("bij,bcj->bci", pairs, v)
    unary = np.einsum("bj,bcj->bc", softmax(u[:, 0], 1), v)[:, :, None]
    return x + (p["gamma"] * pairwise + unary).reshape(x.shape)


def test_at_the_start_each_position_gets_the_same_from_the_others():
    from attnbench.checks import suite
    from attnbench.mechanisms.spatial.dnl import DNL

    case = suite.Case(DNL, channels=16)
    added = case.fresh().double()(case.x()) - case.x()
    torch.testing.assert_close(added, added[:, :, :1, :1].expand_as(added), rtol=0, atol=1e-12)
    assert added.abs().max() > 0


def test_without_weight_decay_means_what_makes_queries_and_keys():
    from attnbench.errors import UserError
    from attnbench.mechanisms.spatial.dnl import DNL

    layers = {"query.weight", "query.bias", "key.weight", "key.bias"}
    assert DNL(16, variant="nowd").no_weight_decay() == layers
    assert DNL(16).no_weight_decay() == set()  # gamma is decayed, as in the authors' code
    with pytest.raises(UserError, match="nowd"):
        DNL(16, variant="nodw")


@pytest.mark.parametrize("variant", ["official", "nowd"])
def test_large_maps_give_what_small_ones_give_by_another_way(monkeypatch, variant):
    from attnbench.checks import suite
    from attnbench.mechanisms.spatial import dnl

    case = suite.Case(dnl.DNL, {"variant": variant}, channels=16)
    expected = case.trained()(case.x())
    monkeypatch.setattr(dnl, "MANY", 1)
    torch.testing.assert_close(case.trained()(case.x()), expected)
    suite.equation(case)
