"""Gated channel transformation, from its equations, in NumPy."""

import numpy as np
import pytest

CASES = [{}, {"mode": "l1"}]
COUNTS = [(64, {}, 192), (256, {}, 768), (512, {}, 1_536), (3, {}, 9)]
ON_RESNET50 = [({}, 67_593)]
OFFICIAL = (256, {}, [(1, 256, 1, 1)] * 3)
EPS = 1e-5


def forward(x, p, options, training):
    if options.get("mode") == "l1":
        e = p["alpha"] * np.abs(x).sum((2, 3), keepdims=True)
        n = e / (np.abs(e).mean(1, keepdims=True) + EPS)
    else:
        e = p["alpha"] * np.sqrt((x**2).sum((2, 3), keepdims=True) + EPS)
        n = e / np.sqrt((e**2).mean(1, keepdims=True) + EPS)
    return x * (1 + np.tanh(p["gamma"] * n + p["beta"]))


def test_beta_alone_has_no_weight_decay():
    from attnbench.mechanisms.channel.gct import GCT

    assert GCT(8).no_weight_decay() == {"beta"}


@pytest.mark.parametrize("mode", ["l1", "l2"])
def test_sums_are_made_in_single_precision_under_autocast(mode):
    import torch

    from attnbench.checks import randomise
    from attnbench.mechanisms.channel.gct import GCT

    module, x = randomise(GCT(16, mode=mode)), torch.full((1, 16, 14, 14), 300.0)
    with torch.autocast("cpu", dtype=torch.float16):
        y = module(x.half())
    torch.testing.assert_close(y.float(), module(x), rtol=2e-3, atol=0)


def test_an_unknown_mode_is_refused():
    from attnbench.errors import UserError
    from attnbench.mechanisms.channel.gct import GCT

    with pytest.raises(UserError, match="known: l1, l2"):
        GCT(8, mode="l3")
