"""Which settings of a recipe have an effect, so that only those are hashed and printed."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, fields, is_dataclass, replace
from typing import Any

from attnbench.config.fields import flatten
from attnbench.config.recipe import Recipe
from attnbench.config.schema import Config

# Setting -> the setting it depends on, and the values of that with which it acts (None: any but 0).
DEPENDS: dict[str, tuple[str, tuple[str, ...] | None]] = {
    "optimizer.momentum": ("optimizer.name", ("sgd", "momentum", "rmsprop")),
    "optimizer.filter_bias_and_bn": ("optimizer.weight_decay", None),
    "schedule.warmup_lr": ("schedule.warmup_epochs", None),
    "schedule.min_lr": ("schedule.name", ("cosine", "poly")),
    "schedule.milestones": ("schedule.name", ("multistep",)),
    "schedule.step_epochs": ("schedule.name", ("step",)),
    "schedule.gamma": ("schedule.name", ("step", "multistep")),
    "schedule.power": ("schedule.name", ("poly",)),
    "augment.padding": ("augment.crop", ("pad",)),
    "augment.scale": ("augment.crop", ("resized",)),
    "augment.resize": ("augment.crop", ("scaled",)),
    "augment.crop_size": ("augment.crop", ("scaled",)),
    "augment.max_class_share": ("augment.crop", ("scaled",)),
    "ema_warmup": ("ema", None),
}


def inactive(recipe: Recipe) -> frozenset[str]:
    """The dotted names of the settings that change nothing, whatever their values."""
    flat = dict(flatten(asdict(recipe)))
    return frozenset(name for name in DEPENDS if not acts(name, flat))


def acts(name: str, recipe: Mapping[str, Any]) -> bool:
    """Whether a setting of a recipe, flat by dotted names, changes anything; of what is not known, yes."""
    on, values = DEPENDS.get(name, ("", None))
    if on not in recipe:
        return True
    return bool(recipe[on]) if values is None else recipe[on] in values


def acting(part: Any) -> Any:
    """A configuration or a part of one, with a recipe's settings that change nothing at their neutral values.

    The neutral value is that of the setting's metadata, or else its default.
    """
    if isinstance(part, Config):
        return replace(part, recipe=acting(part.recipe))
    if not isinstance(part, Recipe):
        return part
    for name in inactive(part):
        part = _reset(part, name.split("."))
    return part


def _reset(settings: Any, path: list[str]) -> Any:
    """The settings with the one at the path at its neutral value."""
    name, *rest = path
    value = getattr(settings, name)
    if is_dataclass(value):
        return replace(settings, **{name: _reset(value, rest)})
    return replace(settings, **{name: _neutral(next(f for f in fields(settings) if f.name == name))})


def _neutral(setting: "Field[Any]") -> Any:
    if "neutral" in setting.metadata:
        return setting.metadata["neutral"]
    return setting.default if setting.default_factory is MISSING else setting.default_factory()
