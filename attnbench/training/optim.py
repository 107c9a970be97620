"""A recipe's optimizer and learning-rate schedule, and the precision it trains at."""

import math
from bisect import bisect_right
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from attnbench.config.recipe import Optimizer, Precision, Recipe
from attnbench.grafting.graft import lr_scale, mechanisms, no_weight_decay

Build = Callable[..., torch.optim.Optimizer]


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """The context in which multiplications run at the precision."""
    if precision == Precision.fp32:
        return nullcontext()
    half = torch.bfloat16 if precision == Precision.bf16 else torch.float16
    return torch.autocast(device.type, half)


def optimizer(network: nn.Module, settings: Optimizer, encoder: str = "") -> torch.optim.Optimizer:
    """The optimizer, each parameter with its own weight decay and learning rate.

    No decay: what a mechanism excludes, and with `filter_bias_and_bn` what timm does not decay either.
    Where the network has an encoder of that name, the rest learns at `head_lr` times the rate; parts of a
    mechanism learn at the rate times the factor that the mechanism has for them.
    """
    spared, factors = no_weight_decay(network), lr_scale(network)
    if settings.filter_bias_and_bn:
        spared |= spared_by_timm(network)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for decay in (settings.weight_decay, 0.0):  # in this order, and the encoder's first
        for scale in (1.0, settings.head_lr):
            groups[scale, decay] = []
    for name, parameter in network.named_parameters():
        inside = not encoder or name.startswith(f"{encoder}.")
        decay = 0.0 if name in spared else settings.weight_decay
        scale = factors.get(name, 1.0) * (1.0 if inside else settings.head_lr)
        groups.setdefault((scale, decay), []).append(parameter)
    return _build(settings)(
        [
            {"params": group, "weight_decay": decay, "lr": settings.lr * scale}
            for (scale, decay), group in groups.items()
            if group
        ],
        lr=settings.lr,
        weight_decay=settings.weight_decay,
    )


def spared_by_timm(network: nn.Module) -> set[str]:
    """Names of the parameters that timm leaves out of weight decay.

    Vectors, biases of any shape, and those that the network, or a part of it, names in `no_weight_decay`.
    """
    names = {n for n, p in network.named_parameters() if p.ndim <= 1 or n.endswith(".bias")}
    grafted = set(mechanisms(network))
    for prefix, part in network.named_modules():
        own = getattr(part, "no_weight_decay", None)
        if callable(own) and part not in grafted:
            names |= {f"{prefix}.{name}".lstrip(".") for name in own()}
    return names


def _build(settings: Optimizer) -> Build:
    """The optimizer's class with the settings that only it has; as timm's factory would choose them."""
    torch_has: dict[str, tuple[Build, dict[str, Any]]] = {
        "sgd": (torch.optim.SGD, {"momentum": settings.momentum, "nesterov": settings.momentum > 0}),
        "momentum": (torch.optim.SGD, {"momentum": settings.momentum}),
        "rmsprop": (torch.optim.RMSprop, {"momentum": settings.momentum, "alpha": 0.9}),
        "adam": (torch.optim.Adam, {}),
        "adamw": (torch.optim.AdamW, {}),
    }
    if settings.name in torch_has:
        build, options = torch_has[settings.name]
    else:
        from timm.optim import Lamb, Lion  # timm takes a second or two to import

        # The recipe's clip_norm clips, for lamb as for all others.
        build, options = {"lamb": (Lamb, {"max_grad_norm": None}), "lion": (Lion, {})}[settings.name]
    return lambda groups, **shared: build(groups, **shared, **options)


class Schedule:
    """The learning rate of every group of an optimizer at every step, as timm's schedulers have it.

    From the rate that a group starts with, which holds its factors; the lowest rate and the rate that warm-up
    begins with are the same for all groups. Milestones apply from their own step on, as in torch.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> None:
        self.optimizer, self.settings, self.steps = optimizer, recipe.schedule, steps
        self.total = recipe.epochs * steps
        self.full = [group["lr"] for group in optimizer.param_groups]

    def step_update(self, step: int) -> None:
        """Set the rates for a step, counted from 0."""
        for group, full in zip(self.optimizer.param_groups, self.full):
            group["lr"] = self.rate(full, step)

    def rate(self, full: float, step: int) -> float:
        """The rate at a step of a group whose full rate is known."""
        settings, warmup = self.settings, self.settings.warmup_epochs * self.steps
        if step < warmup:
            return settings.warmup_lr + step * (full - settings.warmup_lr) / warmup
        span, done = full - settings.min_lr, step / self.total
        match settings.name:
            case "cosine":
                return settings.min_lr + 0.5 * span * (1 + math.cos(math.pi * done))
            case "poly":
                return settings.min_lr + span * (1 - done) ** settings.power
            case "step":
                return full * settings.gamma ** (step // (settings.step_epochs * self.steps))
            case "multistep":
                return full * settings.gamma ** bisect_right(sorted(settings.milestones), step / self.steps)
        return full
