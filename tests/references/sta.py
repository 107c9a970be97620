"""STA, from its equations, on whole maps, in NumPy."""

import numpy as np
import pytest
import torch

from attnbench.checks.case import Case
from attnbench.errors import Impossible, UserError
from attnbench.mechanisms.base import Place
from attnbench.mechanisms.spatial_temporal.sta import STA, distance
from tests.references._layers import batch_norm, linear, relu

CASES = [{"feature": 12}, {"feature": 12, "form": "port"}, {"feature": 12, "stripes": 2, "weight": 0.0}]
CHANNELS = 16
SIZE = (8, 5)
COUNTS = [(256, {}, 526_336 + 10_250), (2048, {}, 4_196_352 + 10_250)]
OFFICIAL = (256, {}, [(1024, 512), (1024,), (1024,), (10, 1024), (10,)])


def forward(x, p, options, training):
    k = options.get("stripes", 4)
    b, _, c, h, w = x.shape
    e = (x**2).sum(2)
    if options.get("form") == "port":
        e = np.sqrt(e)
        maps = e / np.sqrt((e**2).sum((2, 3), keepdims=True))
    else:
        maps = e / e.sum((2, 3), keepdims=True)
    high = h // k
    chosen, mean = np.zeros((b, c, h, w)), np.zeros((b, c, h, w))
    for stripe in range(k):
        rows = slice(stripe * high, (stripe + 1) * high)
        s = maps[:, :, rows].sum((2, 3))
        if options.get("form") == "port":
            s = s / (high * w)
        s = s / s.sum(1, keepdims=True)
        for image in range(b):
            chosen[image, :, rows] = x[image, s[image].argmax(), :, rows]
        mean[:, :, rows] = np.einsum("bn,bnchw->bchw", s, x[:, :, :, rows])
    pooled = np.concatenate([chosen, mean], 1).mean((2, 3))
    feature = relu(batch_norm(linear(pooled, p, "reduce"), p, "norm", training))
    return linear(feature, p, "classify")


def test_the_height_must_part_into_stripes():
    with pytest.raises(Impossible, match="height 7 is not divisible by 4 stripes"):
        STA.at(Place("probe", 8, (7, 4), replaces=Case(STA)._place().replaces, frames=4))
    with pytest.raises(UserError, match="height 6 is not divisible by 4 stripes"):
        STA(8, 3)(torch.randn(2, 4, 8, 6, 4))


def test_attention_has_no_parameters_and_each_stripe_parts_its_weight_among_the_frames():
    case = Case(STA, {"feature": 12}, channels=8, size=SIZE)
    module, x = case.trained(), case.x()
    assert {name.partition(".")[0] for name, _ in module.named_parameters()} == {"reduce", "norm", "classify"}
    torch.testing.assert_close(module.g(x).sum(1), torch.ones(2, 4, dtype=torch.float64))


def test_frames_are_a_set_whose_order_is_lost_on_it():
    case = Case(STA, {"feature": 12}, channels=8, size=SIZE)
    module, x = case.trained().eval(), case.x()
    torch.testing.assert_close(module(x), module(x.flip(1)))


def test_regularisation_is_the_distance_of_two_different_frames():
    maps = torch.rand(3, 2, 4, 5, dtype=torch.float64)
    expected = np.mean([np.sqrt(((a - b) ** 2).sum()) for a, b in maps.numpy()])
    assert float(distance(maps)) == pytest.approx(expected)


def test_no_regularisation_outside_training_or_of_single_frames():
    module = STA(8, 3)
    module.eval()(torch.randn(2, 4, 8, 4, 4))
    assert module.loss(torch.zeros(2)) is None
    module.train()(torch.randn(2, 1, 8, 4, 4))
    assert module.loss(torch.zeros(2)) is None
    module(torch.randn(2, 4, 8, 4, 4))
    assert float(module.loss(torch.zeros(2))) > 0
