"""Controls as costly as a candidate: the backbone without attention, wider or deeper."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from attnbench import backbones, mechanisms, tasks
from attnbench.backbones import _sizes as sizes
from attnbench.cell import Cell
from attnbench.config.schema import Backbone
from attnbench.cost.counting.count import count
from attnbench.cost.store import Store
from attnbench.errors import Impossible

ENOUGH = 0.005  # share of the target that a cost may differ from it
STEPS = 4  # from the form in the original's proportions
T = TypeVar("T")
Build = Callable[[Cell], nn.Module]


def resized(cell: Cell, build: Build) -> Backbone | None:
    """The backbone of a control that is as costly as its candidate; None for any other cell.

    Raises `Impossible` where the candidate cannot be built, or no form of the backbone costs as much.
    """
    kind = mechanisms.load(cell.mechanism).resizes
    if not kind:
        return None
    config = cell.config
    candidate = Cell(replace(config, attn=mechanisms.candidate(config.attn)))
    what: dict[str, Any] = {
        "backbone": asdict(config.backbone),
        "task": asdict(config.task),
        "attn": config.attn,
    }
    what |= {"site": candidate.site, "data": asdict(config.data), "cost": config.cost_image}
    store = Store(Path(config.runs) / "counts", what)
    found = store.get(lambda: {"args": _search(candidate, kind, config.attn["by"], build).args}, resized=kind)
    return replace(config.backbone, args=found["args"])


def _search(candidate: Cell, kind: str, by: str, build: Build) -> Backbone:
    """The form of the backbone whose cost is nearest to the candidate's."""
    config = candidate.config

    def cost_of(backbone: Backbone) -> int:
        return _cost(Cell(replace(config, backbone=backbone, attn={"name": "none"})), by, build)

    with torch.device("meta"):
        bare = backbones.build(config.backbone, config.data.classes, config.data.image)
    size = backbones.size(config.backbone, bare)
    target = _cost(candidate, by, build)
    found = nearest(sizes.forms(config.backbone, size, kind), target, cost_of)
    return found if kind == "depth" else refined(found, target, cost_of, lambda b: sizes.neighbours(b, size))


def nearest(forms: Sequence[T], target: int, cost: Callable[[T], int]) -> T:
    """The form whose cost is nearest to the target; forms in the order of their costs.

    Raises `Impossible` where the target lies outside of what the forms cost.
    """
    at = cache(lambda index: cost(forms[index]))
    low, high = 0, len(forms) - 1
    if not at(low) <= target <= at(high):
        raise Impossible(f"forms of the backbone cost {at(low):,} to {at(high):,}, the candidate {target:,}")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if at(middle) <= target else (low, middle)
    return forms[min(low, high, key=lambda index: (abs(at(index) - target), index))]


def refined(form: T, target: int, cost: Callable[[T], int], around: Callable[[T], Sequence[T]]) -> T:
    """The form, or what small steps to forms around it lead to while they come nearer to the target."""
    gap = abs(cost(form) - target)
    for _ in range(STEPS):
        if gap <= ENOUGH * target:
            break
        others = around(form)
        gaps = [abs(cost(other) - target) for other in others]
        if min(gaps, default=gap) >= gap:
            break
        gap, form = min(gaps), others[gaps.index(min(gaps))]
    return form


def _cost(cell: Cell, by: str, build: Build) -> int:
    """Multiply-adds of one input, or parameters."""
    with torch.device("meta"):
        network = build(cell)
    if by == "params":
        return sum(p.numel() for p in network.parameters())
    return count(network, tasks.load(cell.config).cost_shape)["macs"]
