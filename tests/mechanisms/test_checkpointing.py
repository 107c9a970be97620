"""Gradient checkpointing of grafted networks, block by block and stage by stage."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from attnbench.backbones import build
from attnbench.errors import UserError
from attnbench.grafting.graft import graft
from tests.networks import backbone


def grafted(mechanism: str, site: str) -> nn.Module:
    config = backbone("resnet20")
    torch.manual_seed(0)
    model = build(config, 10, (3, 16, 16)).double().train()
    graft(model, mechanism, {}, config.sites[site], (3, 16, 16))
    return model


def gradients(model: nn.Module, parts: str) -> list[Tensor | None]:
    """Of a copy's parameters; `parts`, stages or blocks, are run again in the backward pass."""
    model = copy.deepcopy(model)
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = torch.relu(model.bn1(model.conv1(x)))
    for stage in (model.layer1, model.layer2, model.layer3):
        for part in stage if parts == "blocks" else [stage]:
            x = checkpoint(part, x, use_reentrant=False) if parts else part(x)
    model.fc(x.mean((2, 3))).square().sum().backward()
    return [p.grad for p in model.parameters()]


@pytest.mark.parametrize(
    ("mechanism", "site", "parts"),
    [("se", "residual", "blocks"), ("dia", "residual", "stages"), ("ema", "late", "blocks")],
)
def test_the_gradients_are_those_without_it(mechanism, site, parts):
    model = grafted(mechanism, site)
    for found, expected in zip(gradients(model, parts), gradients(model, "")):
        assert (found is None) == (expected is None)
        if found is not None:
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("mechanism", "site"), [("dia", "residual"), ("afnb", "stage")])
def test_what_needs_a_place_before_it_is_refused(mechanism, site):
    with pytest.raises(UserError, match="gradient checkpointing"):
        gradients(grafted(mechanism, site), "blocks")
