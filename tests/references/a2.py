"""Double attention, from its equations, in NumPy."""

import numpy as np
import torch

from tests.references._layers import pointwise, softmax

CASES = [{}, {"reduction": 2}]
COUNTS = [(256, {}, 65_984), (256, {"reduction": 2}, 131_712), (1024, {}, 1_050_368)]
OFFICIAL = (
    256,
    {},
    [(64, 256), (64,), (64, 256), (64,), (64, 256), (64,), (256, 64), (256,)],
)


def forward(x, p, options, training):
    b, _, h, w = x.shape
    a, u, v = (pointwise(x, p, name).reshape(b, -1, h * w) for name in ("feature", "gather", "distribute"))
    descriptors = np.einsum("bmi,bni->bmn", a, softmax(u, 2))
    z = np.einsum("bmn,bni->bmi", descriptors, softmax(v, 1))
    return x + pointwise(z.reshape(b, -1, h, w), p, "expand")


def test_the_weights_that_a_position_receives_add_up_to_one():
    from attnbench.checks import suite
    from attnbench.mechanisms.spatial.a2 import A2

    case = suite.Case(A2, channels=16)
    g = case.trained().g(case.x())
    torch.testing.assert_close(g.sum(2), torch.ones_like(g[..., 0]))


def test_few_positions_and_many_take_different_ways_to_the_same():
    from attnbench.checks import suite
    from attnbench.mechanisms.spatial.a2 import A2

    for channels in (16, 64):
        suite.equation(suite.Case(A2, channels=channels))
