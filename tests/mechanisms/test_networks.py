"""Whole networks equal to timm's of the same paper, in training and in evaluation, with timm's weights."""

import pytest
import timm
import torch
from torch import nn

from attnbench.grafting.graft import graft
from tests.networks import backbone

SPLIT = {"split": True, "groups": 1, "reduction": 8, "minimum": 16}
NETWORKS = {  # timm's network: parameters, the plain network, whose sites serve, mechanism, options
    "skresnet18": (11_958_056, ("resnet18", {}), "resnet18", "sk", SPLIT),
    "skresnext50_32x4d": (27_479_784, ("resnext50_32x4d", {}), "resnext50_32x4d", "sk", {}),
    "resnest50d": (27_483_240, ("resnet50d", {"stem_width": 32}), "resnet50", "resnest", {}),
}


def grafted(name: str) -> nn.Module:
    _, (plain, arguments), sites, mechanism, options = NETWORKS[name]
    network = timm.create_model(plain, **arguments)
    graft(network, mechanism, options, backbone(sites).sites["conv_bn_act"], (3, 64, 64))
    return network


def take_over(ours: nn.Module, theirs: nn.Module) -> None:
    """Their state, in order, in our shapes."""
    state = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
    for own, value in state:
        own.copy_(value.reshape(own.shape))


@torch.no_grad()
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == "skresnet18" else pytest.mark.slow) for n in NETWORKS]
)
def test_it_is_timms(name):
    torch.manual_seed(0)
    ours, theirs = grafted(name).double(), timm.create_model(name).double()
    assert sum(p.numel() for p in ours.parameters()) == NETWORKS[name][0]
    for parameter in theirs.parameters():
        if parameter.dim() == 1:
            parameter.add_(0.1 * torch.randn_like(parameter))  # norms that start at 0 or 1 hide paths
    take_over(ours, theirs)
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    for training in (True, False):
        torch.testing.assert_close(ours.train(training)(images), theirs.train(training)(images))
