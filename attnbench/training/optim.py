"""What a recipe's settings are in torch and timm: optimiser, schedule, averaging, mixing, precision."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from attnbench.config.schema import Optimizer, Precision, Recipe
from attnbench.grafting.graft import lr_scale, no_weight_decay


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """The context in which multiplications run at the precision."""
    if precision == Precision.fp32:
        return nullcontext()
    half = torch.bfloat16 if precision == Precision.bf16 else torch.float16
    return torch.autocast(device.type, half)


def optimizer(network: nn.Module, settings: Optimizer, encoder: str = "") -> torch.optim.Optimizer:
    """timm's optimiser, without weight decay where the settings or a mechanism's paper say so.

    Where the network has an encoder of that name, what lies outside of it learns at `head_lr` times the rate;
    parts of a mechanism learn at the rate times the factor that the mechanism has for them.
    """
    from timm.optim import create_optimizer_v2

    kept, factors = no_weight_decay(network), lr_scale(network)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for decay in (settings.weight_decay, 0.0):  # in this order, and the encoder's first
        for scale in (1.0, settings.head_lr):
            groups[scale, decay] = []
    for name, parameter in network.named_parameters():
        small = settings.filter_bias_and_bn and parameter.ndim <= 1
        inside = not encoder or name.startswith(f"{encoder}.")
        decay = 0.0 if name in kept or small else settings.weight_decay
        scale = factors.get(name, 1.0) * (1.0 if inside else settings.head_lr)
        groups.setdefault((scale, decay), []).append(parameter)
    extra: dict[str, Any] = {}
    if settings.name in ("sgd", "momentum", "rmsprop"):
        extra["momentum"] = settings.momentum
    return create_optimizer_v2(
        [
            {"params": group, "weight_decay": decay, "lr_scale": scale}
            for (scale, decay), group in groups.items()
            if group
        ],
        opt=settings.name,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        **extra,
    )


def schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> Any:
    """timm's schedule, told of every step; `steps` make an epoch."""
    from timm.scheduler import create_scheduler_v2

    settings = recipe.schedule
    options: dict[str, Any] = {
        "sched": {"constant": "step"}.get(settings.name, settings.name),
        "num_epochs": recipe.epochs,
        "decay_epochs": settings.step_epochs if settings.name == "step" else recipe.epochs + 1,
        "decay_milestones": settings.milestones,
        "decay_rate": settings.power if settings.name == "poly" else settings.gamma,
        "cooldown_epochs": 0,
        "patience_epochs": 0,
        "min_lr": settings.min_lr,
        "warmup_lr": settings.warmup_lr,
        "warmup_epochs": settings.warmup_epochs,
    }
    scheduler, _ = create_scheduler_v2(optimizer, step_on_epochs=False, updates_per_epoch=steps, **options)
    return scheduler


def average(network: nn.Module, decay: float) -> AveragedModel | None:
    """The running mean of the weights and buffers, if the recipe wants one."""
    if not decay:
        return None
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def mixing(
    recipe: Recipe, classes: int, seed: int
) -> Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """timm's mixup and cutmix, drawn from the seed and the step."""
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
        return mixup(images, targets)

    return mix
