"""External attention, from its equations, in NumPy."""

import numpy as np
import pytest
import torch

from tests.references._layers import batch_norm, linear, pointwise, relu, softmax

CASES = [{}, {"memories": 8}, {"heads": 4, "memories": 6}]
CHANNELS = 32
HEADS = {"heads": 8}
COUNTS = [(256, {}, 164_608), (512, {}, 591_360), (256, HEADS, 529_760), (384, HEADS, 1_187_824)]
OFFICIAL = [
    (256, {}, [(256, 256), (256,), (64, 256), (256, 64), (256, 256), (256,), (256,)]),
    (256, HEADS, [(1024, 256), (1024,), (64, 32), (64,), (32, 64), (32,), (256, 1024), (256,)]),
]


def forward(x, p, options, training):
    if "heads" in options:
        return np.stack([image + by_heads(image, p, options["heads"]) for image in x])
    b, _, h, w = x.shape
    p = {key: value.squeeze(-1) if value.ndim == 3 else value for key, value in p.items()}
    z = pointwise(x, p, "project").reshape(b, -1, h * w)
    a = softmax(pointwise(z, p, "keys"), 2)
    a = a / (1e-9 + a.sum(1, keepdims=True))
    y = pointwise(a, p, "values").reshape(x.shape)
    return relu(x + batch_norm(pointwise(y, p, "expand"), p, "norm", training))


def by_heads(x, p, heads):
    """Head by head and position by position: a channel's heads lie one after the other."""
    c, h, w = x.shape
    p = {key.removeprefix("multi."): value for key, value in p.items()}
    wide = linear(x.reshape(c, -1).T, p, "expand")  # n 4c
    found = []
    for head in np.split(wide, 4 * heads, 1):
        a = softmax(linear(head, p, "keys"), 0)
        found.append(linear(a / (1e-9 + a.sum(1, keepdims=True)), p, "values"))
    return linear(np.concatenate(found, 1), p, "project").T.reshape(c, h, w)


def test_channels_that_no_heads_divide_are_refused():
    from attnbench.errors import Impossible
    from attnbench.mechanisms.spatial.ea import EA

    with pytest.raises(Impossible, match="20 channels do not divide into 8 heads"):
        EA(20, heads=8)


def drawn():
    from attnbench.checks import suite
    from attnbench.mechanisms.spatial.ea import EA

    return suite.Case(EA, channels=16)


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
