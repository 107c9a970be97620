"""Recipes and settings of segmentation: what they compose to, the polynomial schedule, the head's rate."""

import pytest
from torch import nn

from attnbench import data
from attnbench.config import load as compose
from attnbench.config.recipe import Optimizer, Recipe, Schedule
from attnbench.errors import UserError
from attnbench.tasks import seg
from attnbench.training.optim import Schedule as Rates
from attnbench.training.optim import optimizer


def network():
    """Weights inside and outside of an encoder, and a bias of each."""
    return nn.ModuleDict({"encoder": nn.Conv2d(3, 4, 1), "head": nn.Conv2d(4, 2, 1)})


def rates(opt):
    return {p: group["lr"] for group in opt.param_groups for p in group["params"]}


def test_the_settings_of_the_file_are_the_defaults_of_the_code():
    assert compose.configure(["task=seg"]).task.options == dict(seg.OPTIONS)


def test_segmentation_alone_takes_its_quick_recipe_and_another_where_one_is_named():
    assert compose.configure(["task=seg"]).recipe.name == "seg_quick"
    assert compose.configure(["task=seg_unet"]).recipe.name == "seg_quick"
    assert compose.configure(["task=seg", "recipe=seg_short"]).recipe.name == "seg_short"
    assert compose.configure(["task=cls"]).recipe.name == "quick"


def test_the_papers_recipe():
    recipe = compose.configure(["task=seg", "recipe=seg", "data=cityscapes", "data.root=x"]).recipe
    assert (recipe.optimizer.name, recipe.optimizer.lr, recipe.optimizer.momentum) == ("momentum", 0.01, 0.9)
    assert (recipe.schedule.name, recipe.schedule.power) == ("poly", 0.9)
    assert recipe.augment.crop == "scaled" and recipe.augment.resize == [0.5, 2.0]


def test_poly_falls_at_every_step_to_the_power():
    recipe = Recipe(name="x", epochs=4, optimizer=Optimizer(name="momentum", lr=0.01))
    recipe.schedule = Schedule(name="poly", power=0.9)
    opt = optimizer(network(), recipe.optimizer)
    plan = Rates(opt, recipe, 5)
    for step in range(20):
        plan.step_update(step)
        assert opt.param_groups[0]["lr"] == pytest.approx(0.01 * (1 - step / 20) ** 0.9)


def test_the_head_learns_at_its_own_rate():
    net = network()
    recipe = Recipe(name="x", optimizer=Optimizer(name="momentum", lr=0.01, head_lr=10.0), epochs=2)
    recipe.schedule = Schedule(name="poly")
    opt = optimizer(net, recipe.optimizer, "encoder")
    Rates(opt, recipe, 10).step_update(7)
    rate = rates(opt)
    assert rate[net["head"].weight] == rate[net["head"].bias] == pytest.approx(10 * rate[net["encoder"].bias])
    assert rate[net["encoder"].weight] == opt.param_groups[0]["lr"] < 0.01  # what the curve shows


@pytest.mark.parametrize("encoder", ["", "encoder"])
def test_a_neutral_rate_leaves_all_weights_alike(encoder):
    net = network()
    opt = optimizer(net, Optimizer(name="momentum", lr=0.01), encoder)
    assert len(opt.param_groups) == 1 and len(opt.param_groups[0]["params"]) == 4
    assert [id(p) for p in opt.param_groups[0]["params"]] == [id(p) for p in net.parameters()]


def test_no_encoder_no_head():
    net = network()
    opt = optimizer(net, Optimizer(name="momentum", lr=0.01, head_lr=10.0))
    assert set(rates(opt).values()) == {0.01}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recipe=imagenet"], "choose scaled, pad or none"),
        (["recipe=adamw"], "mixup=0.8"),
        (["data=cifar10"], "has nothing for it; data sets that do: ade20k, camvid"),
        (["recipe.optimizer.head_lr=0"], "above 0"),
        (["recipe.augment.crop=scale"], "did you mean scaled"),
        (["task.options.ohm=true"], "did you mean ohem"),
    ],
)
def test_what_segmentation_cannot_do_is_said_before_anything_is_read(arguments, message):
    with pytest.raises(UserError, match=message):
        compose.configure(["task=seg", *arguments])


def test_names_of_classes():
    assert data.label_names(compose.configure(["task=seg"]).data, "seg")[:3] == ["background", "0", "1"]
    camvid = compose.configure(["task=seg", "recipe=none", "data=camvid"]).data
    assert data.label_names(camvid, "seg")[3] == "road"
    assert data.label_names(compose.configure(["task=cls"]).data, "cls") == [str(i) for i in range(10)]
