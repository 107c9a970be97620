"""RSTAN, from its equations, step by step, in NumPy."""

import numpy as np
import pytest
import torch

from attnbench.checks.case import Case
from attnbench.errors import UserError
from attnbench.mechanisms.spatial_temporal.rstan import RSTAN
from tests.references._layers import linear, relu, softmax
from tests.references._recurrent import lstm_step

SMALL = {"hidden": 12, "width": 6}
CASES = [SMALL, {**SMALL, "act": "relu", "steps": 3, "sharp": 2.5}]
CHANNELS = 16
COUNTS = [
    (256, {"hidden": 256, "width": 128}, 131_584 + 526_336 + 2_570),
    (2048, {}, 1_311_744 + 4 * 512 * (2048 + 512 + 2) + 5_130),
]


def forward(x, p, options, training):
    act = relu if options.get("act") == "relu" else np.tanh
    sharp, hidden = options.get("sharp", 1.0), options["hidden"]
    b, t = x.shape[:2]
    rows = x.reshape(b, t, x.shape[2], -1).swapaxes(2, 3)
    h = c = np.zeros((b, hidden))
    scores = []
    for _ in range(options.get("steps") or t):
        frames = []
        for n in range(t):
            z = act(linear(h, p, "where.state")[:, None] + linear(rows[:, n], p, "where.item"))
            alpha = softmax(sharp * linear(z, p, "where.score")[..., 0], 1)
            frames.append(np.einsum("bk,bkc->bc", alpha, rows[:, n]))
        frames = np.stack(frames, 1)
        z = act(linear(h, p, "when.state")[:, None] + linear(frames, p, "when.item"))
        beta = softmax(sharp * linear(z, p, "when.score")[..., 0], 1)
        h, c = lstm_step(np.einsum("bn,bnc->bc", beta, frames), h, c, p, "cell")
        scores.append(linear(h, p, "classify"))
    return np.mean(scores, 0)


def test_each_frames_positions_share_its_weight_and_all_frames_are_seen_at_each_step():
    case = Case(RSTAN, SMALL, channels=8)
    g = case.trained().g(case.x())
    assert g.shape == (2, 8, 8, 35)
    torch.testing.assert_close(g.sum((2, 3)), torch.ones(2, 8, dtype=torch.float64))
    assert bool((g.sum(3) > 0).all())


def test_the_hidden_state_moves_the_attention():
    case = Case(RSTAN, SMALL, channels=8)
    g = case.trained().g(case.x())
    assert not torch.allclose(g[:, 0], g[:, 1])


def test_frames_are_a_set_whose_order_is_lost_on_it():
    case = Case(RSTAN, SMALL, channels=8)
    module, x = case.trained(), case.x()
    torch.testing.assert_close(module(x), module(x.flip(1)))


def test_an_unknown_activation_is_refused():
    with pytest.raises(UserError, match="tanh"):
        RSTAN(8, 3, act="tahn")
