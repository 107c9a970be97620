"""What no type can say of a configuration: ranges, known words, options of a mechanism."""

import re
from collections.abc import Callable
from typing import Any

from attnbench import data, mechanisms, tasks
from attnbench.config import files, options
from attnbench.config.schema import Backbone, Config, names
from attnbench.errors import UserError, unknown

WORDS: dict[str, tuple[str, ...]] = {
    "backbone.stem": ("imagenet", "cifar"),
    "backbone.last_norm": ("default", "zero", "one"),
    "recipe.optimizer.name": ("sgd", "momentum", "adam", "adamw", "lamb", "lion", "rmsprop"),
    "recipe.schedule.name": ("cosine", "step", "multistep", "poly", "constant"),
    "recipe.augment.crop": ("pad", "resized", "scaled", "none"),
    "cost.mode": ("eager", "compile", "cuda_graph"),
    "track.name": ("off", "wandb"),
    "track.mode": ("offline", "online"),
    "launch.executor": ("inline", "processes", "slurm", "ray"),
}
DEVICE = r"auto|cpu|mps|cuda(:\d+)?"
Rule = tuple[Callable[[Any], bool], str]
POSITIVE: Rule = (lambda v: v > 0, "above 0")
NOT_NEGATIVE: Rule = (lambda v: v >= 0, "0 or more")
SHARE: Rule = (lambda v: 0 <= v < 1, "at least 0 and below 1")
RANGES: dict[str, Rule] = {
    "recipe.epochs": NOT_NEGATIVE,
    "recipe.batch_size": POSITIVE,
    "recipe.optimizer.lr": POSITIVE,
    "recipe.optimizer.head_lr": POSITIVE,
    "recipe.optimizer.momentum": SHARE,
    "recipe.optimizer.weight_decay": NOT_NEGATIVE,
    "recipe.schedule.warmup_epochs": NOT_NEGATIVE,
    "recipe.label_smoothing": SHARE,
    "recipe.ema": SHARE,
    "recipe.clip_norm": NOT_NEGATIVE,
    "recipe.evaluate_every": POSITIVE,
    "recipe.augment.padding": NOT_NEGATIVE,
    "recipe.augment.cutout": NOT_NEGATIVE,
    "recipe.augment.mixup": NOT_NEGATIVE,
    "recipe.augment.cutmix": NOT_NEGATIVE,
    "cost.input": POSITIVE,
    "cost.width": POSITIVE,
    "cost.rounds": POSITIVE,
    "cost.batch": POSITIVE,
    "hardware.threads": POSITIVE,
    "hardware.workers": NOT_NEGATIVE,
    "hardware.checkpoint_s": NOT_NEGATIVE,
    "hardware.micro_batch": POSITIVE,
    "launch.jobs": POSITIVE,
    "launch.limit_min": POSITIVE,
    "launch.processes": POSITIVE,
    "launch.per_gpu": POSITIVE,
    "launch.per_job": POSITIVE,
    "launch.chunk": POSITIVE,
    "launch.job_min": POSITIVE,
    "launch.poll_s": POSITIVE,
}


def validate(config: Config) -> None:
    """Raise `UserError` for the first value that cannot be meant."""
    check_own(config)
    check_site(config)
    check_shared(config)


def check_own(config: Config) -> None:
    """As `validate`, of what differs between the cells of one table, but for the site."""
    if config.seed < 0:
        raise UserError(f"seed={config.seed}: must be 0 or more")
    _check_attention(config.attn)


def check_shared(config: Config) -> None:
    """As `validate`, of what the cells of one table have in common."""
    options.check_task(config)
    for path, words in WORDS.items():
        if (word := _at(config, path)) not in words:
            raise unknown(path, str(word), words)
    for path, (holds, meaning) in RANGES.items():
        value = _at(config, path)
        if value is not None and not holds(value):
            raise UserError(f"{path}={value}: must be {meaning}")
    if not re.fullmatch(DEVICE, config.hardware.device):
        raise UserError(
            f"hardware.device={config.hardware.device}: no such device; auto, cpu, cuda, cuda:1 or mps"
        )
    data.check(config.data, config.task.name if config.recipe.trains else None)
    _check_backbone(config)
    _check_task(config)


def _at(config: Any, path: str) -> Any:
    for part in path.split("."):
        config = getattr(config, part)
    return config


def _check_attention(attn: dict[str, Any]) -> None:
    found = mechanisms.entry(attn["name"])
    given = {option: value for option, value in attn.items() if option != "name"}
    options.check_types(given, found.options, "attn", f"attn={found.name}")
    if found.category == mechanisms.CONTROL and "of" in given:
        _check_compared(found.name, given)


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
    if backbone.takes != needs:
        known = (name for name in names("backbone") if _takes(name) == needs)
        raise UserError(
            f"task={config.task.name} hands over {needs}, and backbone={backbone.name} takes "
            f"{backbone.takes}: choose another, such as backbone={next(known, 'NAME')}"
        )


def _takes(backbone: str) -> str:
    return files.read("backbone", backbone).get("takes", Backbone.takes)


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
    if augment.crop_size and augment.crop != "scaled":
        raise UserError(
            f"recipe.augment.crop_size={list(augment.crop_size)}: is for crop=scaled, "
            f"and recipe.augment.crop={augment.crop}"
        )
    card = tasks.card(config)
    data.check_augment(augment, card.masks)
    data.check_targets(config, card)


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
