"""Settings that change nothing are no part of a key; all others are."""

import json
from dataclasses import replace

import pytest
from omegaconf import OmegaConf

from attnbench import records
from attnbench.config.acting import DEPENDS, acting, acts, inactive
from attnbench.config.recipe import Recipe
from attnbench.sweeping.experiment import cell
from tests import committed

SHORT = ("data=cifar10", "data.root=x", "recipe=short")


@pytest.mark.parametrize(
    ("words", "without", "with_effect"),
    [
        (
            ["recipe.optimizer.name=adamw"],
            "recipe.optimizer.momentum=0.5",
            ["recipe.optimizer.name=momentum"],
        ),
        (["recipe.schedule.name=cosine"], "recipe.schedule.gamma=0.5", ["recipe.schedule.name=step"]),
        (["recipe.schedule.name=step"], "recipe.schedule.min_lr=0.01", ["recipe.schedule.name=poly"]),
        (["recipe.augment.crop=pad"], "recipe.augment.scale=[0.5,1.0]", ["recipe.augment.crop=resized"]),
        (["recipe.augment.crop=resized"], "recipe.augment.padding=2", ["recipe.augment.crop=pad"]),
        (["recipe.ema=0"], "recipe.ema_warmup=false", ["recipe.ema=0.9"]),
    ],
)
def test_a_setting_without_effect_makes_no_other_cell(words, without, with_effect):
    assert cell([*SHORT, *words, without]).key == cell([*SHORT, *words]).key
    assert cell([*SHORT, *with_effect, without]).key != cell([*SHORT, *with_effect]).key


def test_tables_state_only_what_acts():
    flat = {"optimizer.name": "adamw", "schedule.name": "cosine", "ema": 0.0}
    assert not acts("optimizer.momentum", flat) and not acts("ema_warmup", flat)
    assert acts("optimizer.lr", flat) and acts("schedule.min_lr", flat)
    assert acts("optimizer.momentum", {})  # of an older record nothing is known


def test_every_rule_names_settings_that_exist():
    recipe = cell([*SHORT]).config.recipe
    for names in ((name, on) for name, (on, _) in DEPENDS.items()):
        for path in names:
            value = recipe
            for part in path.split("."):
                value = getattr(value, part)
    assert "schedule.gamma" in inactive(recipe) and "optimizer.momentum" not in inactive(recipe)


def test_no_committed_recipe_loses_more_than_settings_at_their_defaults():
    found, _ = records.read(committed.results())
    recipes = {json.dumps(r["config"]["recipe"], sort_keys=True) for r in found}
    assert recipes
    for text in recipes:
        recipe = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Recipe), json.loads(text)))
        assert acting(recipe) == replace(recipe, ema_warmup=False)
