"""GCNet's global context block, from its equations, in NumPy."""

import numpy as np
import pytest

from tests.references._layers import linear, relu, sigmoid, softmax

CASES = [{}, {"pool": "avg"}, {"fuse": "mul"}, {"reduction": 4, "fuse": "mul", "pool": "avg"}]
COUNTS = [(256, {}, 8_753), (256, {"reduction": 4}, 33_473), (1024, {}, 133_313), (2048, {}, 528_769)]
OFFICIAL = (256, {}, [(1, 256), (1,), (16, 256), (16,), (16,), (16,), (256, 16), (256,)])


def forward(x, p, options, training):
    positions = x.reshape(*x.shape[:2], -1)
    if options.get("pool") == "avg":
        c = positions.mean(2)
    else:
        a = softmax(linear(positions.swapaxes(1, 2), p, "mask"), 1)
        c = np.einsum("bcn,bn->bc", positions, a[..., 0])
    z = linear(c, p, "reduce")
    z = (z - z.mean(1, keepdims=True)) / np.sqrt(z.var(1, keepdims=True) + 1e-5)
    z = relu(z * p["norm.weight"].ravel() + p["norm.bias"].ravel())
    z = linear(z, p, "expand")[:, :, None, None]
    return x * sigmoid(z) if options.get("fuse") == "mul" else x + z


@pytest.mark.parametrize("fuse", ["add", "mul"])
def test_a_fresh_block_adds_nothing_or_halves(fuse):
    import torch

    from attnbench.mechanisms.spatial.gc import GC

    x = torch.randn(2, 32, 5, 6)
    assert torch.equal(GC(32, fuse=fuse)(x), x if fuse == "add" else x / 2)


def test_both_ways_of_attending_have_the_same_gradients():
    """The one for maps whose channels lie next to each other, too, reaches every parameter."""
    import torch

    from attnbench.checks.suite import randomise
    from attnbench.mechanisms.spatial.gc import GC

    module = randomise(GC(32)).double()
    x = torch.randn(2, 32, 5, 6, dtype=torch.float64)
    gradients = []
    for layout in (torch.contiguous_format, torch.channels_last):
        y = module(x.contiguous(memory_format=layout))
        gradients.append(torch.autograd.grad(y.sin().sum(), list(module.parameters())))
    for plain, fast in zip(*gradients):
        torch.testing.assert_close(fast, plain, rtol=1e-9, atol=1e-10)
