"""Bilinear attention, from its equations, in NumPy."""

import numpy as np
import pytest
import torch

from attnbench.errors import UserError
from attnbench.mechanisms.channel.bilinear import Bilinear
from tests.references._layers import batch_norm, pointwise, relu, sigmoid

CASES = [{}, {"reduction": 8}]
BATCH = 3
COUNTS = [(64, {}, 1_932), (256, {}, 75_312), (512, {}, 560_224)]
OFFICIAL = (
    256,
    {},
    [(16, 256), (16,), (16,), (16,), *2 * [(256, 136), (256,), (256,), (256,)]],
)


def layer(x, p, name, training):
    return relu(batch_norm(pointwise(x, p, f"{name}.0"), p, f"{name}.1", training))


def forward(x, p, options, training):
    z = layer(x, p, "embed", training)
    narrow = z.shape[1]
    pairs = [(i + k, i) for k in range(narrow) for i in range(narrow - k)]
    q = np.stack([z[:, i] * z[:, j] for i, j in pairs], axis=1)
    inner = layer(q.mean((2, 3), keepdims=True), p, "inner", training)
    return x * sigmoid(inner * layer(q, p, "outer", training))


def test_the_gate_never_closes_below_one_half():
    module = Bilinear(32).eval()
    assert module.g(torch.randn(2, 32, 4, 4) * 10).min() >= 0.5


def test_maps_narrower_than_the_reduction_keep_one_channel():
    assert Bilinear(8).embed[0].out_channels == 1


def test_one_image_in_training_is_refused_in_words():
    with pytest.raises(UserError, match="2 images a batch"):
        Bilinear(16)(torch.randn(1, 16, 3, 3))


def test_half_precision_does_not_overflow_the_products():
    module = Bilinear(32).eval()
    for layer in (module.inner, module.outer):
        layer[0].weight.data *= 1e-6
    x = (torch.randn(2, 32, 4, 4) * 2000).half()
    assert module.embed(x.float()).square().max() > 65_504
    with torch.autocast("cpu", dtype=torch.float16):
        half = module.g(x)
    torch.testing.assert_close(half.float(), module.g(x.float()), rtol=1e-2, atol=1e-2)
