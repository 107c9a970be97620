"""Multiply-adds, element-wise work and activations of one forward pass in evaluation mode."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from attnbench.cost.counting.dispatch import Watch, watching
from attnbench.cost.counting.operator import Work
from attnbench.cost.counting.readout import like_weights
from attnbench.errors import UserError
from attnbench.grafting.clone import copied

COUNTERS = ("dispatch", "fvcore")


def count(model: nn.Module, image: tuple[int, ...], counter: str = "dispatch") -> dict[str, Any]:
    """Work of `model` on one image of shape (c, h, w), in evaluation mode; the model is left as it was.

    Returns `macs`, `elementwise` (see `rules`), `activations` (elements of the results of convolutions and
    matrix products) and `uncounted`, the operators without a rule, which the figures leave out; `numpy`,
    `dlpack` and `tolist` there are work outside torch. Raises whatever the network raises.
    Of a network whose attribute `parts` names modules of it (part -> dotted name), `macs_PART` for each, too.
    `counter` is `dispatch`, which runs on the meta device where the model can, or `fvcore`, which traces it.
    """
    parts = parts_of(model)
    if counter == "dispatch":
        watch = watched(model, image)
        work = {part: _below(watch.work, name) for part, name in parts.items()}
        return _result(sum(watch.work.values(), Work()), work, watch.uncounted)
    if counter == "fvcore":
        from attnbench.cost.counting.tracer import traced

        return _result(*traced(model, image, parts))
    raise UserError(f"unknown counter '{counter}': known: {', '.join(COUNTERS)}")


def parts_of(model: nn.Module) -> dict[str, str]:
    """The modules whose share is counted separately, by the part's name, where the network has them."""
    named = getattr(model, "told_apart", {})
    return {part: name for part, name in named.items() if getattr(model, name, None) is not None}


def _below(work: Mapping[str, Work], name: str) -> Work:
    """Work of a module and all below it."""
    inside = (own for where, own in work.items() if where == name or where.startswith(f"{name}."))
    return sum(inside, Work())


def _result(work: Work, parts: Mapping[str, Work], uncounted: set[str]) -> dict[str, Any]:
    shares = {f"macs_{part}": own.macs for part, own in parts.items()}
    return {**work._asdict(), **shares, "uncounted": sorted(uncounted)}


def watched(model: nn.Module, image: tuple[int, ...]) -> Watch:
    """The quick counter's account of one image: on the meta device, or where values are read, on the CPU."""
    try:
        return _watched(model, torch.zeros(1, *image, device="meta", dtype=like_weights(model)))
    except Exception:  # it reads values, or uses what knows no meta device; the CPU gives any true error
        return _watched(model, one_image(model, image))


def one_image(model: nn.Module, image: tuple[int, ...]) -> Tensor:
    """A batch of one random image on the CPU, of the type of the network's weights."""
    return torch.rand(1, *image, generator=torch.Generator().manual_seed(0)).to(like_weights(model))


def _watched(model: nn.Module, images: Tensor) -> Watch:
    clone = copied(model, images.device)
    with watching(clone) as watch:
        clone(images)
    return watch
