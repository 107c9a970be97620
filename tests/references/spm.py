"""Strip pooling module, from its equations, in NumPy."""

import torch

from attnbench.mechanisms.channel_spatial.spm import SPM
from tests.references._layers import batch_norm, conv2d, pointwise, relu, sigmoid

CASES = [{}]
CHANNELS = 24
COUNTS = [(16, {}, 7 * 256 + 80), (256, {}, 460_032)]
OFFICIAL = (
    256,
    {},
    [(256, 256, 3, 1), (256,), (256,), (256, 256, 1, 3), (256,), (256,), (256, 256, 1, 1), (256,)],
)


def forward(x, p, options, training):
    v = batch_norm(conv2d(x.mean(3, keepdims=True), p, "rows", padding=(1, 0)), p, "rows_norm", training)
    u = batch_norm(
        conv2d(x.mean(2, keepdims=True), p, "columns", padding=(0, 1)), p, "columns_norm", training
    )
    return x * sigmoid(pointwise(relu(v + u), p, "expand"))


def test_the_gate_is_applied_by_the_module_itself():
    module, x = SPM(8).eval(), torch.randn(1, 8, 4, 6)
    assert torch.equal(module(x), x * module.g(x))
