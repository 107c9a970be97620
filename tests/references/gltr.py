"""GLTR, from its equations, in NumPy."""

import numpy as np
import torch

from attnbench.checks.case import Case
from attnbench.mechanisms.temporal.gltr import GLTR
from tests.references._layers import batch_norm, linear, pointwise, relu, softmax
from tests.references._recurrent import conv1d

CASES = [{"dropout": 0.0, "width": 12}, {"dropout": 0.0, "width": 12, "dilations": (1, 2, 4)}]
CHANNELS = 16
HEAD = 2 * 512 + 513 * 10
COUNTS = [(256, {}, 674_048 + 32_896 + HEAD), (2048, {}, 674_048 + 262_272 + HEAD)]
OFFICIAL = (
    2048,
    {},
    [
        *[(128, 2048), (128,), *[(128, 128, 3)] * 3],
        *[(256, 512), (256,)] * 3,
        *[(512, 256), (512,), (512,), (512,)],
        *[(512,), (512,), (10, 512), (10,)],
    ],
)


def forward(x, p, options, training):
    z = linear(x.mean((3, 4)), p, "reduce").swapaxes(1, 2)
    steps = options.get("dilations", (1, 2, 3))
    context = np.concatenate([z, *(conv1d(z, p, f"pyramid.{i}", d, d) for i, d in enumerate(steps))], 1)
    q, k, v = (pointwise(context, p, name) for name in ("theta", "phi", "value"))
    a = softmax(np.einsum("bdi,bdj->bij", q, k), 2)
    gathered = pointwise(np.einsum("bij,bdj->bdi", a, v), p, "out")
    y = (context + batch_norm(gathered, p, "norm", training)).mean(2)
    return linear(relu(batch_norm(y, p, "classify.0", training)), p, "classify.3")


def test_the_parts_have_the_counts_of_the_released_model():
    module = GLTR(256, 10)
    pyramid = sum(p.numel() for p in module.pyramid.parameters())
    attention = [module.theta, module.phi, module.value, module.out, module.norm]
    assert pyramid == 147_456
    assert sum(p.numel() for part in attention for p in part.parameters()) == 526_592


def test_released_dilations_are_not_those_of_the_paper():
    assert [c.dilation for c in GLTR(8, 3).pyramid] == [(1,), (2,), (3,)]
    assert [c.dilation for c in GLTR(8, 3, dilations=(1, 2, 4)).pyramid] == [(1,), (2,), (4,)]


def test_fresh_attention_adds_nothing_to_the_mean_over_frames():
    case = Case(GLTR, channels=8)
    module, x = case.fresh().double(), case.x()
    torch.testing.assert_close(module.embed(x), module.context(x).mean(2), rtol=0, atol=0)


def test_the_order_of_frames_counts():
    case = Case(GLTR, {"dropout": 0.0}, channels=8)
    module, x = case.trained().eval(), case.x()
    assert not torch.allclose(module(x), module(x.flip(1)))
