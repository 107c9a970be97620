"""Dynamic convolution, from its equations, in NumPy: a sum of the kernels' outputs, not of the kernels."""

import pytest
import torch
from torch import nn

from attnbench.mechanisms.base import Place
from attnbench.mechanisms.branch.dynamic_conv import DynamicConv
from tests.references._layers import conv2d, linear, relu, softmax

CASES = [{}, {"kernels": 6, "reduction": 2, "temperature": 1.0}]
CHANNELS = 16
BATCH = 3
COUNTS = [(64, {}, 148_616), (256, {}, 2_376_200), (512, {}, 9_503_752)]
OFFICIAL = (256, {}, [(65, 256), (4, 65), (4,), (4, 256 * 256 * 9)])


def forward(x, p, options, training):
    logits = linear(relu(linear(x.mean((2, 3)), p, "reduce")), p, "expand")
    shares = softmax(logits / options.get("temperature", 30), axis=1)
    y = 0
    for k, kernel in enumerate(p["kernels.weight"]):
        part = {"w.weight": kernel.reshape(x.shape[1], x.shape[1], 3, 3)}
        y = y + shares[:, k, None, None, None] * conv2d(x, part, "w", padding=1)
    return y


def at(conv, **options):
    return DynamicConv.at(Place("conv2", conv.in_channels, (8, 8), replaces=conv), **options)


def temperatures(module, epochs):
    found = []
    for epoch in range(epochs):
        module.start_epoch(epoch, epochs)
        found.append(module.temperature.item())
    return found


def test_the_temperature_falls_to_one_over_ten_epochs():
    found = temperatures(at(nn.Conv2d(8, 8, 3)), 100)
    assert found[0] == 30 and found[5] == pytest.approx(15.5)
    assert found[10] == 1 and set(found[10:]) == {1}


def test_the_ports_schedule_takes_three_an_epoch():
    found = temperatures(at(nn.Conv2d(8, 8, 3), temperature=34, anneal=11), 100)
    assert found[:12] == pytest.approx([34 - 3 * epoch for epoch in range(12)]) and found[-1] == 1


@pytest.mark.parametrize("epochs", [2, 3, 5, 12])
def test_short_runs_reach_it_in_their_first_half(epochs):
    found = temperatures(at(nn.Conv2d(8, 8, 3)), epochs)
    assert found[0] == 30 and found[max(epochs // 2, 1)] == 1


def test_heat_evens_the_shares_and_the_state_keeps_it():
    module, x = at(nn.Conv2d(8, 8, 3)), torch.randn(16, 8, 4, 4) * 10
    hot = module.g(x)
    module.start_epoch(50, 100)
    cold = module.g(x)
    assert (hot - 0.25).abs().max() < 0.2 < (cold - 0.25).abs().max()
    other = at(nn.Conv2d(8, 8, 3))
    other.load_state_dict(module.state_dict())
    assert torch.equal(other.g(x), cold)


def test_it_keeps_the_geometry_of_the_convolution_it_replaces():
    conv = nn.Conv2d(16, 32, 3, stride=2, padding=1, groups=4)
    module, x = at(conv), torch.randn(3, 16, 9, 8)
    assert module(x).shape == conv(x).shape
    assert module.kernels.bias.shape == (4, 32)
