"""Mixup and CutMix of a whole batch, however many processes share it."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from attnbench.config.recipe import Recipe
from attnbench.training.distributed import Group

Mix = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]


def mixing(recipe: Recipe, classes: int, seed: int, group: Group) -> Mix | None:
    """timm's mixup and CutMix, drawn from the seed and the step; None where the recipe mixes nothing.

    An image's partner may lie in another process, so the whole batch is gathered, mixed and divided again.
    """
    if not recipe.augment.mixup and not recipe.augment.cutmix:
        return None
    from timm.data import Mixup

    mixup = Mixup(
        recipe.augment.mixup,
        recipe.augment.cutmix,
        label_smoothing=recipe.label_smoothing,
        num_classes=classes,
    )

    def mix(step: int, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        np.random.seed([seed, step])  # noqa: NPY002 (timm draws from numpy's global generator)
        images, targets = mixup(group.gather(images), group.gather(targets))
        return group.own(images), group.own(targets)

    return mix
