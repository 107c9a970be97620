"""Options of tasks with a class for each pixel: what no type can say of them. Needs no torch."""

import math
from collections.abc import Mapping
from typing import Any

from attnbench.errors import UserError

STRIDES = (8, 16, 32)


def check(chosen: Mapping[str, Any], classes: int) -> None:
    """Raise `UserError` for the first option that cannot be meant."""
    _check_network(chosen)
    _check_loss(chosen, classes)
    _check_windows(chosen)


def _check_network(chosen: Mapping[str, Any]) -> None:
    """Of the network for segmentation."""
    if chosen["output_stride"] not in STRIDES:
        raise UserError(f"task.options.output_stride={chosen['output_stride']}: 8, 16 or 32")
    if not 0 <= chosen["dropout"] < 1:
        raise UserError(f"task.options.dropout={chosen['dropout']}: at least 0 and below 1")
    if not chosen["auxiliary"] >= 0:
        raise UserError(f"task.options.auxiliary={chosen['auxiliary']}: must be 0 or more")


def _check_loss(chosen: Mapping[str, Any], classes: int) -> None:
    """Of the loss of segmentation."""
    if not 0 < chosen["ohem_threshold"] <= 1:
        raise UserError(f"task.options.ohem_threshold={chosen['ohem_threshold']}: above 0, at most 1")
    weights = chosen["class_weights"]
    if weights is None:
        return
    fits = isinstance(weights, list | tuple) and len(weights) == classes and all(map(_is_weight, weights))
    if not fits or max(weights) == 0:
        raise UserError(
            f"task.options.class_weights={weights}: {classes} numbers, one a class, "
            "none below 0 and not all 0"
        )


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _check_windows(chosen: Mapping[str, Any]) -> None:
    """Of the evaluation of segmentation."""
    crop, stride = (pair(name, chosen[name]) for name in ("crop", "stride"))
    if stride is not None and crop is None:
        raise UserError("task.options.stride is set without task.options.crop, the window's size")
    if stride is not None and crop is not None and (stride[0] > crop[0] or stride[1] > crop[1]):
        raise UserError(f"task.options.stride={stride}: above crop={crop}, so that pixels would be left out")
    if not chosen["scales"] or min(chosen["scales"]) <= 0:
        raise UserError(
            f"task.options.scales={chosen['scales']}: a list of numbers above 0, such as [0.75, 1.0, 1.25]"
        )


def pair(name: str, value: Any) -> tuple[int, int] | None:
    """Height and width, px, of one number for both or a list; raises `UserError` where it is neither."""
    if value is None:
        return None
    sides = (list(value) if isinstance(value, list | tuple) else [value]) * (
        2 if isinstance(value, int) else 1
    )
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise UserError(f"task.options.{name}={value}: one number of px, or [height, width]")
    return sides[0], sides[1]
