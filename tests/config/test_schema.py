"""Every number of the schema has bounds, and every setting refuses what it cannot be."""

import dataclasses
import math
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from attnbench.config import fields
from attnbench.config.fields import Interval
from attnbench.config.schema import Backbone, Config, Data, Served, Site, Task
from attnbench.errors import UserError

VALUES = (0, -1, math.nan, math.inf, -math.inf, 1e30)


def walk(kind: type, prefix: str = ""):
    """Every setting by its dotted name, with its type and its field."""
    hints = get_type_hints(kind)
    for each in dataclasses.fields(kind):
        hint = hints[each.name]
        if dataclasses.is_dataclass(hint):
            yield from walk(hint, f"{prefix}{each.name}.")
        else:
            yield f"{prefix}{each.name}", hint, each


def kinds(hint: Any) -> set[Any]:
    """The types that a setting's type is made of, without those of dictionaries."""
    if get_origin(hint) is dict:
        return set()
    return {hint}.union(*(kinds(inner) for inner in get_args(hint)))


EVERY = [*walk(Config), *walk(Site, "site."), *walk(Served, "served.")]
NUMBERS = [(path, each) for path, hint, each in EVERY if kinds(hint) & {int, float}]
TEXTS = [(path, each) for path, _, each in EVERY if "form" in each.metadata or "words" in each.metadata]


def test_the_schema_is_walked_whole():
    paths = {path for path, _, _ in EVERY}
    assert {"seed", "recipe.optimizer.lr", "data.mean", "launch.poll_s", "hardware.threads"} <= paths
    assert len(NUMBERS) > 50 and len(TEXTS) > 15
    assert {Data, Task, Backbone} <= set(get_type_hints(Config).values())


@pytest.mark.parametrize(("path", "each"), NUMBERS, ids=[path for path, _ in NUMBERS])
def test_every_number_has_bounds_that_refuse_what_cannot_be_meant(path, each):
    bounds = each.metadata.get("interval")
    assert isinstance(bounds, Interval), f"{path} has no interval"
    assert math.isfinite(bounds.low) and math.isfinite(bounds.high)
    refused = []
    for value in VALUES:
        try:
            fields.check(path, value, each.metadata)
        except UserError as error:
            assert str(error).startswith(f"{path}=") and "\n" not in str(error)
            refused.append(value)
        else:
            assert value in bounds
    assert len(refused) >= 4  # neither of the infinities, nor nan, nor 1e30 is ever meant


@pytest.mark.parametrize(("path", "each"), NUMBERS, ids=[path for path, _ in NUMBERS])
def test_defaults_are_within_their_bounds(path, each):
    default = each.default if each.default is not dataclasses.MISSING else each.default_factory()
    fields.check(path, default, each.metadata)


@pytest.mark.parametrize(("path", "each"), TEXTS, ids=[path for path, _ in TEXTS])
@pytest.mark.parametrize("value", ["", "a\nb", "\x1b[31m"])
def test_names_paths_and_words_refuse_what_would_harm_a_file_or_a_terminal(path, each, value):
    with pytest.raises(UserError, match=path.replace(".", r"\.")):
        fields.check(path, value, each.metadata)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("[0, 1)", (0, 0.999), (-1e-9, 1, math.nan)),
        ("(0, 1]", (1e-9, 1), (0, 1.001)),
        ("[1, 1_000]", (1, 1000), (0, 1001)),
    ],
)
def test_intervals(text, inside, outside):
    interval = Interval.read(text)
    assert all(value in interval for value in inside)
    assert not any(value in interval for value in outside)


def test_a_refusal_names_the_bound_that_was_broken():
    interval = Interval.read("(0, 1000]")
    assert interval.refusal(0) == "above 0"
    assert interval.refusal(math.inf) == "at most 1,000"
    assert interval.refusal(math.nan) == "a number above 0 and at most 1,000"
