"""SimAM, from its equations, in NumPy."""

import numpy as np

from tests.references._layers import sigmoid

CASES = [{}, {"lam": 0.1}]
COUNTS = [(64, {}, 0), (256, {}, 0)]
OFFICIAL = (256, {}, [])


def forward(x, p, options, training):
    t = (x - x.mean((2, 3), keepdims=True)) ** 2
    v = t.sum((2, 3), keepdims=True) / (x[0, 0].size - 1)
    return x * sigmoid(t / (4 * (v + options.get("lam", 1e-4))) + 0.5)


def test_a_map_of_one_position_is_halfway():
    import torch

    from attnbench.mechanisms.channel_spatial.simam import SimAM

    x = torch.randn(2, 8, 1, 1)
    torch.testing.assert_close(SimAM(8)(x), x * torch.sigmoid(torch.tensor(0.5)))


def test_gradient_against_finite_differences():
    import torch

    from attnbench.mechanisms.channel_spatial.simam import SimAM

    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 4, 3))).requires_grad_()
    assert torch.autograd.gradcheck(SimAM(3), x)


def test_only_the_input_is_kept_for_the_backward_pass():
    import torch

    from attnbench.mechanisms.channel_spatial.simam import SimAM

    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()), lambda t: t):
        SimAM(8)(torch.randn(2, 8, 9, 9, requires_grad=True))
    assert sum(kept) == 2 * 8 * (9 * 9 + 2)
