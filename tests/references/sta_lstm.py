"""STA-LSTM, from its equations, step by step, in NumPy."""

import numpy as np
import pytest
import torch

from attnbench.checks.case import Case
from attnbench.errors import UserError
from attnbench.mechanisms.spatial_temporal.sta_lstm import STALSTM
from tests.references._layers import linear, relu, softmax
from tests.references._recurrent import lstm

CASES = [{"hidden": 8}, {"hidden": 8, "layers": 1, "form": "paper", "sparse": 1e-4}]
CHANNELS = 18
SIZE = (6, 3)


def forward(x, p, options, training):
    b, t, k, _ = x.shape
    rows = x.reshape(b, t, -1)
    scale = 1 if options.get("form") == "paper" else k
    s, r = lstm(rows, p, "spatial"), lstm(rows, p, "temporal")
    steered, beta = np.zeros_like(rows), np.zeros((b, t))
    for step in range(t):
        now = rows[:, step]
        s_before, r_before = (z[:, step - 1] if step else np.zeros_like(z[:, 0]) for z in (s, r))
        z = np.tanh(linear(now, p, "item") + linear(s_before, p, "state"))
        alpha = scale * softmax(linear(z, p, "score"), 1)
        steered[:, step] = (alpha[..., None] * x[:, step]).reshape(b, -1)
        beta[:, step] = relu(linear(np.concatenate([now, r_before], 1), p, "frame")[:, 0])
    h = steered
    for layer in range(options.get("layers", 3)):
        h = lstm(h, p, "main", layer)
    return np.einsum("bt,btk->bk", beta, linear(h, p, "classify"))


def test_counts_of_two_bodies_and_sixty_classes():
    module = STALSTM(150, 60, joints=50)
    parts = {
        "main": [module.main, module.classify],
        "spatial": [module.spatial, module.item, module.state, module.score],
        "temporal": [module.temporal, module.frame],
    }
    counts = {name: sum(p.numel() for m in group for p in m.parameters()) for name, group in parts.items()}
    assert counts == {"main": 268_460, "spatial": 130_950, "temporal": 101_051}
    assert sum(p.numel() for p in module.parameters()) == 500_461


def test_a_frames_own_joints_decide_what_it_counts_for():
    """β reads x_t: the first frame's differs between skeletons although all states start at zero."""
    case = Case(STALSTM, {"hidden": 8}, channels=18)
    beta = case.trained().g(case.x() * 5)[..., -1]
    assert beta[0, 0] != beta[1, 0]


def test_gates_do_not_see_later_frames():
    case = Case(STALSTM, {"hidden": 8}, channels=18)
    module, x = case.trained(), case.x().detach()
    later = x.clone()
    later[:, 5:] += 1
    ours, theirs = module.g(x), module.g(later)
    torch.testing.assert_close(ours[:, :5], theirs[:, :5])
    assert not torch.allclose(ours[:, 5:], theirs[:, 5:])


@pytest.mark.parametrize(("form", "scale"), [("paper", 1), ("scaled", 6)])
def test_three_regularisers(form, scale):
    options = {"hidden": 8, "form": form, "spread": 0.5, "frames": 0.25, "sparse": 0.125}
    case = Case(STALSTM, options, channels=18)
    module, x = case.trained(), case.x()
    module(x)
    g = module.g(x).detach().numpy()
    alpha, beta = g[..., :-1], g[..., -1]
    np.testing.assert_allclose(alpha.sum(2), scale)
    weights = sum(np.abs(p.detach().numpy()).sum() for p in module.parameters() if p.dim() > 1)
    spread = ((1 - alpha.mean(1)) ** 2).sum(1).mean()
    expected = 0.5 * spread + 0.25 * np.abs(beta).mean() + 0.125 * weights
    assert float(module.loss(torch.zeros(2)).detach()) == pytest.approx(expected)
    assert module.eval()(x) is not None
    assert module.loss(torch.zeros(2)) is None


def test_the_literal_first_regulariser_cannot_vanish():
    """A softmax over K joints has the mean 1 / K: its least value is K (1 - 1 / K)²."""
    module = STALSTM(18, 3, joints=6, form="paper", frames=0.0)
    torch.nn.init.zeros_(module.score.weight)
    torch.nn.init.zeros_(module.score.bias)
    module(torch.randn(2, 4, 6, 3))
    assert float(module.loss(torch.zeros(2)).detach()) == pytest.approx(1e-3 * 6 * (1 - 1 / 6) ** 2)


def test_at_first_every_frame_counts_one_and_joints_about_one():
    g = Case(STALSTM, channels=18).fresh().g(torch.randn(2, 8, 6, 3))
    assert bool((g[..., -1] == 1).all())
    torch.testing.assert_close(g[..., :-1].mean(2), torch.ones(2, 8))


def test_maps_are_no_skeletons():
    with pytest.raises(UserError, match="reads skeletons"):
        STALSTM(18, 3, joints=6)(torch.randn(2, 3, 8, 8))
