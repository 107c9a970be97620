"""After three steps every parameter of every mechanism has had a gradient that is not zero."""

import copy
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn

from attnbench import backbones
from attnbench.config.schema import Config, names
from attnbench.errors import Impossible, UserError
from attnbench.grafting.graft import graft
from attnbench.grafting.sites import match
from attnbench.mechanisms import entries
from attnbench.sweeping.experiment import cell
from attnbench.training.watched import Watched
from tests.networks import backbone

IMAGE = (3, 96, 96)  # a last map of 3x3 positions: attention over one position has no gradient
STEPS = 3
NARROW: dict[str, dict[str, object]] = {  # the same modules, with fewer channels
    "resnet18": {"channels": [64, 64, 64, 64]},
    "resnet50": {"channels": [16, 16, 32, 32]},
    "resnext50_32x4d": {"channels": [64, 64, 64, 64]},
    "wrn_28_10": {"width": 1},
    "vgg16_bn": {"mlp_ratio": 0.01},
    "attention56": {"width": 8},
}
FAMILIES = (
    *("attention56", "convnext_tiny", "deit3_small", "densenet121", "efficientnet_b0", "mobilenetv2_100"),
    *("mobilenetv3", "mobilenetv3_small", "regnety_008", "resnet8", "resnet18", "resnet50"),
    *("resnext50_32x4d", "spnet50", "swin_tiny", "unet_small", "vgg16_bn", "vit_tiny_patch16_224"),
    "wrn_28_10",
)
MECHANISMS = [name for name, entry in entries().items() if name != "none" and entry.category != "control"]
OPTIONS = {"san": {"kernel": 3}}  # to fit the smallest map
WITHOUT: dict[str, dict[str, str]] = {  # mechanism -> parameter's last names -> why it has no gradient
    "dia": {"recall.0.weight": "reads the state of the place before, which is zero at the first"},
    "gc": {"mask.bias": "a softmax over positions does not depend on what is added to all of them"},
}
ONE_UNIT = {"se", "gc", "ge", "fca", "cbam"}  # at 16 channels, their one hidden unit may start dead


@cache
def built(name: str, last_norm: str) -> nn.Module:
    torch.manual_seed(0)
    config = backbone(name, last_norm=last_norm)
    return backbones.build(replace(config, args={**config.args, **NARROW.get(name, {})}), 10, IMAGE)


def dead(name: str, mechanism: str, site: str) -> list[str]:
    """The mechanisms' parameters without a gradient in three steps, by the rule on last norms."""
    config = Config(backbone=backbone(name), site=site)
    model = copy.deepcopy(built(name, config.backbone.last_norm)).train()
    try:
        new = graft(model, mechanism, OPTIONS.get(mechanism, {}), config.sites[site], IMAGE)
    except Impossible as reason:
        pytest.skip(f"{reason}")
    watched = Watched(model, compiled=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for step in range(STEPS):
        images = torch.randn(4, *IMAGE, generator=torch.Generator().manual_seed(step))
        targets = torch.arange(4)
        optimizer.zero_grad()
        watched.begin()
        loss = nn.functional.cross_entropy(model(images), targets)
        terms = [term for module in new if (term := module.loss(targets)) is not None]
        sum(terms, loss).backward()
        watched.end(step)
        optimizer.step()
    own = {id(p) for module in new for p in module.parameters()}
    mine = {n for n, p in model.named_parameters() if id(p) in own}
    return [n for n in watched.dead if n in {_outer(name) for name in mine}]


def _outer(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != "wrapped")


def assert_all_learn(name: str, mechanism: str, site: str) -> None:
    known = WITHOUT.get(mechanism, {})
    assert not [n for n in dead(name, mechanism, site) if not n.endswith(tuple(known))]


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_everything_learns_behind_norms_that_would_start_at_zero(mechanism: str) -> None:
    assert_all_learn("resnet18", mechanism, "residual")


@pytest.mark.slow
@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("name", FAMILIES)
def test_everything_learns_at_every_site_of_every_family(name: str, mechanism: str) -> None:
    for site in backbone(name).sites:
        try:
            if mechanism not in ONE_UNIT:
                assert_all_learn(name, mechanism, site)
        except (pytest.skip.Exception, UserError):
            continue


def test_the_families_are_all_that_have_sites_on_maps() -> None:
    deeper = {"resnet20", "resnet32", "resnet56", "resnet110", "resnet34", "resnet101", "resnet152"}
    assert set(names("backbone")) - deeper - {"spnet101", "attention92", "lstm", "whole", "patch8"} == set(
        FAMILIES
    )


# The rule


def test_behind_norms_that_start_at_zero_an_ending_in_relu_would_never_learn() -> None:
    """What the rule mends: with timm's start the gradient of such a mechanism is zero for ever."""
    model = copy.deepcopy(built("resnet18", "zero")).train()
    (first, *_) = graft(model, "enc", {}, backbone("resnet18").sites["residual"], IMAGE)
    model(torch.randn(4, *IMAGE)).logsumexp(1).sum().backward()
    assert not any(p.grad.any() for p in first.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("words", "start"),
    [
        (["backbone=resnet18"], "one"),
        (["backbone=resnet18", "site=residual"], "one"),
        (["backbone=resnet50", "site=stage"], "default"),
        (["backbone=regnety_008", "site=deep"], "one"),
        (["backbone=resnet18", "backbone.last_norm=zero"], "zero"),
        (["backbone=resnet20"], "default"),
        (["backbone=vit_tiny_patch16_224"], "default"),
        (["task=seg", "backbone=resnet18"], "default"),
        (["task=seg", "backbone=resnet18", "site=residual"], "one"),
    ],
)
def test_control_and_candidate_start_alike(words: list[str], start: str) -> None:
    control, candidate = (cell([f"attn={name}", *words]) for name in ("none", "se"))
    assert control.config.backbone.last_norm == candidate.config.backbone.last_norm == start
    assert control.table == candidate.table


def test_sites_behind_norms_that_start_at_zero_are_marked() -> None:
    """A norm that timm starts at zero, right where a site's mechanism stands."""
    for name in FAMILIES:
        config = backbone(name)
        model = built(name, "zero")
        weights = {name: p for name, p in model.named_parameters() if name.endswith("weight")}
        zero = {name.removesuffix(".weight") for name, p in weights.items() if p.ndim == 1 and not p.any()}
        zero |= {name.removesuffix(".bn") for name in zero}
        for site, where in config.sites.items():
            after = {module for pattern in where.after for module in match(model, pattern)}
            assert bool(zero & after) == where.after_zero, (name, site)
