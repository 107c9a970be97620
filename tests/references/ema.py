"""Expectation-maximisation attention, from its equations, in NumPy."""

import numpy as np
import torch

from tests.references._layers import batch_norm, pointwise, relu, softmax

CASES = [{}, {"bases": 8, "stages": 1}]
CHANNELS = 32
COUNTS = [(256, {}, 131_840), (512, {}, 525_824)]
OFFICIAL = (256, {}, [(256, 256), (256,), (256, 256), (256,), (256,)])


def fitted(x, p, options):
    b, c, h, w = x.shape
    projected = pointwise(x, p, "project").reshape(b, c, h * w)
    mu = np.repeat(p["bases"], b, 0)
    for _ in range(options.get("stages", 3)):
        z = softmax(np.einsum("bcn,bck->bnk", projected, mu), 2)
        mu = np.einsum("bcn,bnk->bck", projected, z / (1e-6 + z.sum(1, keepdims=True)))
        mu = mu / (1e-6 + np.sqrt((mu**2).sum(1, keepdims=True)))
    return mu, z


def forward(x, p, options, training):
    mu, z = fitted(x, p, options)
    rebuilt = relu(np.einsum("bck,bnk->bcn", mu, z)).reshape(x.shape)
    return relu(x + batch_norm(pointwise(rebuilt, p, "expand"), p, "norm", training))


def drawn():
    from attnbench.checks import suite
    from attnbench.mechanisms.spatial.ema import EMA

    case = suite.Case(EMA, {"bases": 8}, channels=16)
    return case.trained(), case.x()


def test_training_moves_the_bases_by_a_tenth_and_evaluation_leaves_them():
    module, x = drawn()
    before = module.bases.clone()
    state = {key: value.numpy().copy() for key, value in module.state_dict().items()}
    module.eval()(x)
    assert torch.equal(module.bases, before)
    module.train()(x)
    mu = fitted(x.detach().numpy(), state, {})[0]
    np.testing.assert_allclose(module.bases, 0.9 * before + 0.1 * mu.mean(0, keepdims=True), atol=1e-12)
    assert "bases" in module.state_dict()


def test_gradients_reach_the_input_past_the_fitting_only():
    module, x = drawn()
    module.eval().expand.weight.data.zero_()
    module.norm.bias.data.zero_(), module.norm.running_mean.zero_()
    module(x).sum().backward()
    assert torch.equal(x.grad, (x > 0).double())
