"""What a table states of the conditions under which its numbers were measured."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest

from attnbench.config.acting import DEPENDS
from attnbench.config.fields import flatten
from attnbench.config.recipe import Recipe
from attnbench.report.tables.conditions import conditions
from attnbench.report.tables.table import tables
from tests.factories import record

SETTINGS = [name for name, _ in flatten(asdict(Recipe())) if name != "name"]


def others(value: Any) -> Iterator[Any]:
    """Values that are not the default, those that Python takes for false among them."""
    yield {bool: not value, int: 7, float: 7.5, list: [7.0], str: "x"}.get(type(value), "x")
    yield from (empty for empty in (0, 0.0, []) if type(empty) is type(value) and empty != value)


def changed(name: str, value: Any) -> dict[str, Any]:
    """The default recipe with one setting changed, and with what makes it act."""
    recipe = asdict(Recipe())
    on, values = DEPENDS.get(name, ("", None))
    for path, new in ((on, values[0] if values else 0.5), (name, value)):
        *parts, last = path.split(".")
        inner = recipe
        for part in parts:
            inner = inner[part]
        if last:
            inner[last] = new
    return recipe


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_of_a_recipe_that_differs_from_its_default_is_stated(name):
    for value in others(dict(flatten(asdict(Recipe())))[name]):
        (table,) = tables([record("none", 0, 60.0, config__recipe=changed(name, value))])
        stated = dict(conditions(table))["Recipe"].replace(" (Nesterov)", "")
        assert f"{name}={value}" in stated.replace("'", "")
