"""Settings that change nothing are no part of a key; all others are."""

from pathlib import Path

import pytest

from attnbench import records
from attnbench.cell import Cell
from attnbench.config.acting import DEPENDS, acting, inactive
from attnbench.config.schema import Config
from attnbench.sweep.experiment import cell

RESULTS = Path(__file__).parents[2] / "results"
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


def test_every_rule_names_settings_that_exist():
    recipe = cell([*SHORT]).config.recipe
    for names in ((name, on) for name, (on, _) in DEPENDS.items()):
        for path in names:
            value = recipe
            for part in path.split("."):
                value = getattr(value, part)
    assert "schedule.gamma" in inactive(recipe) and "optimizer.momentum" not in inactive(recipe)


def test_the_committed_records_keep_their_keys():
    found, _ = records.read(RESULTS)
    assert found
    for record in found:
        config = Config.restore(record["config"])
        assert acting(config).recipe == config.recipe or config.recipe.ema == 0
        assert Cell(config).table == Cell(acting(config)).table
