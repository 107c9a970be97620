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


def test_the_exclusion_reaches_the_optimizer():
    from torch import nn

    from attnbench.config.recipe import Optimizer
    from attnbench.config.schema import Site
    from attnbench.grafting.graft import graft
    from attnbench.training.optim import optimizer

    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1))
    (module,) = graft(model, "gct", {}, Site(before=["1"]), (3, 4, 4))
    groups = optimizer(model, Optimizer(weight_decay=0.1)).param_groups
    free = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
    assert free == {id(module.beta)}


def test_the_one_is_the_identity_and_nothing_else_is_added():
    import torch

    from attnbench.checks.suite import randomise
    from attnbench.mechanisms.channel.gct import GCT

    module, x = randomise(GCT(8)), torch.randn(2, 8, 5, 5)
    torch.testing.assert_close(module(x), module.g(x) * x)
    assert module.g(x).min() > 0 and module.g(x).max() < 2


@pytest.mark.parametrize("mode", ["l1", "l2"])
def test_sums_are_made_in_single_precision_under_autocast(mode):
    import torch

    from attnbench.checks.suite import randomise
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
