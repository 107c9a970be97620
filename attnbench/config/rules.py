"""What two settings forbid each other, and that each is within the bounds of its field."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from attnbench import data, mechanisms, tasks
from attnbench.config import compose, fields, options
from attnbench.config.files import names
from attnbench.config.recipe import Recipe
from attnbench.config.schema import Backbone, Config, Served
from attnbench.errors import UserError, unknown

SEED = next(each.metadata for each in dataclasses.fields(Config) if each.name == "seed")


def validate(config: Config) -> None:
    """Raise `UserError` for the first value that cannot be meant."""
    check_own(config)
    check_site(config)
    check_shared(config)


def check_own(config: Config) -> None:
    """As `validate`, of what differs between the cells of one table, but for the site."""
    fields.check("seed", config.seed, SEED)
    name, given = config.attn.get("name"), {k: v for k, v in config.attn.items() if k != "name"}
    found = mechanisms.entry(str(name))
    options.check(given, found.arguments, "attn", f"attn={name}")
    if found.category == mechanisms.CONTROL and "of" in given:
        _check_compared(found.name, given)


def check_shared(config: Config) -> None:
    """As `validate`, of what the cells of one table have in common."""
    for path, value, bounds in _values(config):
        fields.check(path, value, bounds)
    tasks.check_options(config, config.task.options)
    data.check(config.data, config.task.name if config.recipe.trains else None)
    _check_backbone(config)
    _check_task(config)


def _values(part: Any, prefix: str = "") -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """Every setting by its dotted name, with its value and its bounds."""
    for each in dataclasses.fields(part):
        value, path = getattr(part, each.name), f"{prefix}{each.name}"
        if dataclasses.is_dataclass(value):
            yield from _values(value, f"{path}.")
        elif isinstance(value, dict) and any(map(dataclasses.is_dataclass, value.values())):
            for name, inner in value.items():
                yield from _values(inner, f"{path}.{name}.")
        else:
            yield path, value, each.metadata


def _check_compared(control: str, given: dict[str, Any]) -> None:
    """Of a control that is as costly as a mechanism: the mechanism, and by what."""
    if given["by"] not in ("macs", "params"):
        raise unknown("attn.by", str(given["by"]), ("macs", "params"))
    compared = mechanisms.entry(mechanisms.called(given["of"])["name"])
    if compared.name == "none" or "of" in compared.options:
        raise UserError(f"attn={control}: attn.of names the mechanism to compare with, such as attn.of=se")


def check_site(config: Config) -> None:
    """Raise `UserError` where the network has no such site."""
    if config.site != "paper" and config.site not in config.sites:
        known = [*config.sites, "paper"]
        raise unknown(f"site of backbone {config.backbone.name}", config.site, known)


def _check_backbone(config: Config) -> None:
    needs, backbone = tasks.card(config).backbone, config.backbone
    if backbone.name not in names("backbone"):
        raise unknown("backbone (backbone.name)", backbone.name, names("backbone"))
    if backbone.source not in (known := (*options.sources(), "timm")):
        raise unknown("source of a backbone (backbone.source)", backbone.source, known)
    if backbone.takes != needs:
        fit = (name for name in names("backbone") if _takes(name) == needs)
        raise UserError(
            f"task={config.task.name} hands over {needs}, and backbone={backbone.name} takes "
            f"{backbone.takes}: choose another, such as backbone={next(fit, 'NAME')}"
        )


def _takes(backbone: str) -> str:
    return compose.read("backbone", backbone).get("takes", Backbone.takes)


def _check_task(config: Config) -> None:
    recipe = config.recipe
    if config.recipe.trains:
        _check_training(config)
    if (recipe.augment.mixup or recipe.augment.cutmix) and recipe.batch_size % 2:
        raise UserError(f"recipe.batch_size={recipe.batch_size}: mixup and cutmix need an even one")


def _check_training(config: Config) -> None:
    recipe, augment = config.recipe, config.recipe.augment
    if recipe.epochs == 0:
        raise UserError("recipe.epochs=0 trains nothing: choose another recipe, or recipe=none for costs")
    if recipe.schedule.warmup_epochs >= recipe.epochs:
        raise UserError(
            f"recipe.schedule.warmup_epochs={recipe.schedule.warmup_epochs}: must be below "
            f"recipe.epochs={recipe.epochs}, or nothing is left for the schedule"
        )
    _check_schedule(recipe)
    if augment.crop == "pad" and augment.padding > config.data.size:
        raise UserError(f"recipe.augment.padding={augment.padding}: at most data.size={config.data.size} px")
    images = config.data.train or config.data.tasks.get(config.task.name, Served()).train
    if images is not None and recipe.batch_size > images:
        raise UserError(
            f"recipe.batch_size={recipe.batch_size} is more than the {images} training images of "
            f"data={config.data.name}"
        )
    if augment.crop_size and augment.crop != "scaled":
        raise UserError(
            f"recipe.augment.crop_size={list(augment.crop_size)}: is for crop=scaled, "
            f"and recipe.augment.crop={augment.crop}"
        )
    card = tasks.card(config)
    data.check_augment(augment, card.masks)
    data.check_targets(config, card)


def _check_schedule(recipe: Recipe) -> None:
    schedule, lr = recipe.schedule, recipe.optimizer.lr
    if schedule.min_lr > lr:
        raise UserError(f"recipe.schedule.min_lr={schedule.min_lr}: at most recipe.optimizer.lr={lr}")
    if schedule.milestones != sorted(set(schedule.milestones)):
        raise UserError(f"recipe.schedule.milestones={schedule.milestones}: the epochs must rise")


SMALL_IMAGE = 64  # px; up to there a stem for ImageNet leaves little of an image


def stem_note(config: Config) -> str | None:
    """What to know of a ResNet's stem on small images; None where nothing is unusual.

    The stem is never chosen by the size of the images, so that a cell is what its words say.
    """
    backbone, (_, height, width) = config.backbone, config.data.image
    of_resnet = backbone.source == "timm" and getattr(backbone.sites.get("input"), "before", []) == ["conv1"]
    if not of_resnet or backbone.stem != "imagenet" or max(height, width) > SMALL_IMAGE:
        return None
    return (
        f"{backbone.name} has its ImageNet stem (stride 4) on images of {height}x{width} px; "
        "backbone.stem=cifar keeps their size, at about 15 times the multiply-adds"
    )
