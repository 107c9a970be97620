"""CondConv, from its equations, in NumPy: a sum of the experts' outputs, not of their kernels."""

import copy
import pickle

import pytest
import torch
from torch import nn

from attnbench.config.schema import Site
from attnbench.errors import Impossible, UserError
from attnbench.grafting.graft import graft
from attnbench.mechanisms.base import Place
from attnbench.mechanisms.branch.condconv import CondConv
from tests.references._layers import conv2d, linear, sigmoid

CASES = [{}, {"experts": 8}]
CHANNELS = 16
BATCH = 3
COUNTS = [
    (64, {}, 147_716),
    (256, {}, 2_360_324),
    (512, {}, 9_439_236),
    (256, {"experts": 8}, 4_720_648),
]
OFFICIAL = (256, {}, [(4, 256), (4,), (4, 9 * 256 * 256)])


def forward(x, p, options, training):
    shares = sigmoid(linear(x.mean((2, 3)), p, "routing.linear"))
    y = 0
    for k, kernel in enumerate(p["kernels.weight"]):
        expert = {"w.weight": kernel.reshape(x.shape[1], x.shape[1], 3, 3)}
        y = y + shares[:, k, None, None, None] * conv2d(x, expert, "w", padding=1)
    return y


def at(conv, **options):
    return CondConv.at(Place("conv2", conv.in_channels, (8, 8), replaces=conv), **options)


@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 4, 16])
def test_it_is_the_mixture_of_plain_convolutions(size, stride, groups):
    conv = nn.Conv2d(16, 32, 3, stride=stride, padding=1, groups=groups).double()
    module, x = at(conv).double(), torch.randn(3, 16, *size, dtype=torch.float64)
    module.kernels.bias.data.normal_()
    expected, shares = 0, module.g(x)
    for k, kernel in enumerate(module.kernels.each()):
        conv.weight.data, conv.bias.data = kernel, module.kernels.bias.data[k]
        expected = expected + shares[:, k, None, None, None] * conv(x)
    torch.testing.assert_close(module(x), expected)


def test_shares_are_sigmoids_and_need_not_sum_to_one():
    module = at(nn.Conv2d(16, 16, 3))
    shares = module.g(torch.zeros(2, 16, 4, 4))
    assert torch.equal(shares, torch.full((2, 4), 0.5))


def test_experts_start_with_the_spread_of_efficientnet():
    module = at(nn.Conv2d(64, 64, 3, padding=1))
    assert module.kernels.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)


def test_an_unknown_routing_is_refused():
    with pytest.raises(UserError, match="layer"):
        at(nn.Conv2d(8, 8, 3), routing="layers")


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(width, 8, 1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.conv3 = nn.Conv2d(8, 8, 3, stride=2, padding=1)

    def forward(self, x):
        return self.conv3(self.conv2(self.conv1(x).relu()).relu())


@pytest.fixture
def routed():
    model = nn.Sequential(Block(4), Block(8)).double().eval()
    graft(model, "condconv", {"routing": "block"}, Site(instead=["*.conv[23]"]), (4, 8, 8))
    return model


def image(seed=0):
    return torch.randn(2, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_a_block_has_one_routing_from_its_own_input(routed):
    first, second = routed
    assert first.conv2.routing is first.conv3.routing
    assert first.conv2.routing is not second.conv2.routing
    x = image()
    routed(x)
    expected = torch.sigmoid(first.conv2.routing.linear(x.mean((2, 3))))
    torch.testing.assert_close(first.conv3.g(torch.empty(2, 8, 8, 8)), expected)
    between = first(x)
    by_hand = second.conv1(between).relu()
    shares = torch.sigmoid(second.conv2.routing.linear(between.mean((2, 3))))
    by_hand = second.conv3.kernels(second.conv2.kernels(by_hand, shares).relu(), shares)
    torch.testing.assert_close(routed(x), by_hand)


def test_routing_by_block_is_counted_once(routed):
    kernels = 4 * 4 * (8 * 8 * 9 + 8)
    assert sum(p.numel() for p in routed.parameters()) == kernels + (4 * 5 + 4 * 9) + (4 * 8 + 8) + (
        8 * 8 + 8
    )


def test_routing_by_block_survives_copying_and_pickling(routed):
    expected = routed(image())
    twin, loaded = copy.deepcopy(routed), pickle.loads(pickle.dumps(routed))
    routed(image(1))
    assert torch.equal(twin(image()), expected) and torch.equal(loaded(image()), expected)
    twin[0].conv2.routing.linear.bias.data.add_(1)
    assert torch.equal(routed(image()), expected)


def test_routing_by_block_needs_a_block():
    with pytest.raises(Impossible, match="block"):
        at(nn.Conv2d(8, 8, 3), routing="block")
    chain = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1))
    with pytest.raises(Impossible, match="block"):
        graft(chain, "condconv", {"routing": "block"}, Site(instead=["1"]), (4, 8, 8))


def test_without_its_block_it_says_so(routed):
    with pytest.raises(UserError, match="before its block has run"):
        copy.deepcopy(routed[0].conv2)(torch.zeros(1, 8, 4, 4, dtype=torch.float64))
