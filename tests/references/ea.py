"""External attention, from its equations, in NumPy."""

import numpy as np
import torch

from tests.references._layers import batch_norm, pointwise, relu, softmax

CASES = [{}, {"memories": 8}]
CHANNELS = 32
COUNTS = [(256, {}, 164_608), (512, {}, 591_360)]
OFFICIAL = (256, {}, [(256, 256), (256,), (64, 256), (256, 64), (256, 256), (256,), (256,)])


def forward(x, p, options, training):
    b, _, h, w = x.shape
    p = {key: value.squeeze(-1) if value.ndim == 3 else value for key, value in p.items()}
    z = pointwise(x, p, "project").reshape(b, -1, h * w)
    a = softmax(pointwise(z, p, "keys"), 2)
    a = a / (1e-9 + a.sum(1, keepdims=True))
    y = pointwise(a, p, "values").reshape(x.shape)
    return relu(x + batch_norm(pointwise(y, p, "expand"), p, "norm", training))


def drawn():
    from attnbench import checks
    from attnbench.mechanisms.spatial.ea import EA

    return checks.Case(EA, channels=16)


def test_the_memories_start_equal_and_learn_apart():
    module, x = drawn().fresh(), drawn().x().float()
    keys, values = module.keys.weight, module.values.weight
    assert torch.equal(keys[..., 0], values[..., 0].T)
    optimizer = torch.optim.SGD([keys, values], lr=1.0)
    module(x).square().sum().backward()
    optimizer.step()
    assert not torch.allclose(keys[..., 0], values[..., 0].T)


def test_a_position_shares_itself_out_among_the_memories():
    g = drawn().trained().g(drawn().x()).detach().numpy()
    np.testing.assert_allclose(g.sum(1), 1, rtol=1e-6)
