"""Optimizers, weight decay and schedules are those of timm, and where they are not a test says why."""

import pytest
import torch
from torch import nn

from attnbench import backbones, mechanisms
from attnbench.config import load
from attnbench.config.recipe import Optimizer, Recipe, Schedule
from attnbench.errors import Impossible, UserError
from attnbench.grafting.graft import graft, no_weight_decay
from attnbench.training import optim

EPOCHS, STEPS = 6, 10
# Mechanisms whose authors' code spares parameters that timm's rule decays -> the source.
SPARED = {
    "srm": "hyunjaelee410/style-based-recalibration-module: its parameters are in a group without decay",
    "gct": "z-x-yang/GCT: beta, of shape (1, c, 1, 1), is in a group without decay",
}


def network() -> nn.Module:
    return nn.ModuleDict({"encoder": nn.Conv2d(3, 4, 1), "head": nn.Conv2d(4, 2, 1)})


def decayed(net: nn.Module, settings: Optimizer) -> set[str]:
    """Names of the parameters with weight decay."""
    groups = optim.optimizer(net, settings).param_groups
    found = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    return {name for name, p in net.named_parameters() if id(p) in found}


def timm_decays(net: nn.Module) -> set[str]:
    from timm.optim import param_groups_weight_decay

    own = getattr(net, "no_weight_decay", set)()
    groups = param_groups_weight_decay(net, 0.05, no_weight_decay_list=own)
    found = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    return {name for name, p in net.named_parameters() if id(p) in found}


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "adamw", "rmsprop", "lion"])
def test_a_step_is_that_of_timms_factory(name):
    from timm.optim import create_optimizer_v2

    torch.manual_seed(0)
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    settings = Optimizer(name=name, lr=0.01, momentum=0.8, weight_decay=0.1)
    extra = {"momentum": 0.8} if name in ("sgd", "momentum", "rmsprop") else {}
    expected = create_optimizer_v2(
        theirs, opt=name, lr=0.01, weight_decay=0.1, filter_bias_and_bn=False, **extra
    )
    pairs = [(ours, optim.optimizer(ours, settings)), (theirs, expected)]
    x = torch.randn(8, 5)
    for _ in range(3):
        for module, opt in pairs:
            opt.zero_grad()
            module(x).square().mean().backward()
            opt.step()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=0, atol=0)


def test_lamb_does_not_clip_unless_the_recipe_does():
    (opt,) = [optim.optimizer(nn.Linear(2, 2), Optimizer(name="lamb", lr=0.1))]
    assert opt.defaults["max_grad_norm"] is None


SCHEDULES = [
    Schedule(name="cosine", warmup_epochs=0.5, warmup_lr=1e-3, min_lr=1e-2),
    Schedule(name="poly", power=0.9, min_lr=1e-2),
    Schedule(name="step", step_epochs=2, gamma=0.1, warmup_epochs=1),
    Schedule(name="constant", warmup_epochs=1),
]


@pytest.mark.parametrize("settings", SCHEDULES, ids=lambda s: s.name)
def test_rates_are_those_of_timms_schedulers(settings):
    from timm.scheduler import create_scheduler_v2

    recipe = Recipe(name="x", epochs=EPOCHS, schedule=settings)
    ours, theirs = (torch.optim.SGD(nn.Linear(1, 1).parameters(), 0.4) for _ in range(2))
    rates = optim.Schedule(ours, recipe, STEPS)
    expected, _ = create_scheduler_v2(
        theirs,
        {"constant": "step"}.get(settings.name, settings.name),
        num_epochs=EPOCHS,
        decay_epochs=settings.step_epochs if settings.name == "step" else EPOCHS + 1,
        decay_rate=settings.power if settings.name == "poly" else settings.gamma,
        cooldown_epochs=0,
        min_lr=settings.min_lr,
        warmup_lr=settings.warmup_lr,
        warmup_epochs=settings.warmup_epochs,
        step_on_epochs=False,
        updates_per_epoch=STEPS,
    )
    for step in range(EPOCHS * STEPS):
        rates.step_update(step)
        expected.step_update(step)
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12)


def test_milestones_apply_from_their_own_step_as_in_torch():
    recipe = Recipe(name="x", epochs=EPOCHS, schedule=Schedule(name="multistep", milestones=[4, 1.5]))
    ours, theirs = (torch.optim.SGD(nn.Linear(1, 1).parameters(), 0.4) for _ in range(2))
    rates = optim.Schedule(ours, recipe, STEPS)
    expected = torch.optim.lr_scheduler.MultiStepLR(theirs, [15, 40], 0.1)
    for step in range(EPOCHS * STEPS):
        rates.step_update(step)
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"])
        theirs.step()
        expected.step()


def test_the_lowest_rate_is_the_same_for_the_head():
    recipe = Recipe(name="x", epochs=EPOCHS, schedule=Schedule(name="poly", min_lr=1e-4))
    opt = optim.optimizer(network(), Optimizer(name="momentum", lr=0.01, head_lr=10.0), "encoder")
    rates = optim.Schedule(opt, recipe, STEPS)
    rates.step_update(0)
    assert [group["lr"] for group in opt.param_groups] == pytest.approx([0.01, 0.1])
    rates.step_update(EPOCHS * STEPS)
    assert [group["lr"] for group in opt.param_groups] == pytest.approx([1e-4, 1e-4])


@pytest.mark.parametrize(
    "name", ["resnet8", "vit_tiny_patch16_224", "swin_tiny", "convnext_tiny", "resnet18"]
)
def test_what_is_decayed_is_what_timm_decays(name):
    config = load.configure(["data=imagenet", "data.root=x", f"backbone={name}"])
    with torch.device("meta"):
        net = backbones.build(config.backbone, 10, config.data.image)
    settings = Optimizer(name="adamw", weight_decay=0.05, filter_bias_and_bn=True)
    assert decayed(net, settings) == timm_decays(net)
    assert decayed(net, Optimizer(weight_decay=0.05)) == {name for name, _ in net.named_parameters()}


def test_an_encoder_within_a_larger_network_keeps_its_exclusions():
    config = load.configure(["data=imagenet", "data.root=x", "backbone=vit_tiny_patch16_224"])
    with torch.device("meta"):
        net = nn.ModuleDict({"encoder": backbones.build(config.backbone, 10, config.data.image)})
    assert {"encoder.pos_embed", "encoder.cls_token"} <= optim.spared_by_timm(net)


@pytest.mark.parametrize("name", sorted(mechanisms.entries()))
def test_mechanisms_are_decayed_by_timms_rule_unless_their_source_says_otherwise(name):
    config = load.configure([f"attn={name}", "data.size=32"])
    site = next((s for s in mechanisms.entries()[name].sites if s in config.sites), None)
    if name == "none" or site is None:
        pytest.skip("no site of resnet8")
    net = backbones.build(config.backbone, 10, config.data.image)
    try:
        graft(net, name, {}, config.sites[site], config.data.image)
    except (Impossible, UserError) as reason:
        pytest.skip(str(reason))
    settings = Optimizer(name="adamw", weight_decay=0.05, filter_bias_and_bn=True)
    missing = timm_decays(net) - decayed(net, settings)
    assert bool(missing) == (name in SPARED), (missing, SPARED.get(name))
    assert missing <= no_weight_decay(net)
