"""Options of mechanisms, tasks, data sets and backbones: what can be given for them. Needs no torch."""

import ast
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from attnbench.config.files import PACKAGE, names
from attnbench.config.schema import Task
from attnbench.errors import UserError, unknown
from attnbench.mechanisms import signature
from attnbench.mechanisms.signature import Argument

WORDS: dict[str, tuple[str, ...]] = {  # of tasks' options
    "decoder": ("fcn", "psp", "aspp", "unet"),
    "head": ("mean", "lstm"),
}
STRIDES = (8, 16, 32)


def check(given: Mapping[str, Any], known: Mapping[str, Argument], setting: str, whose: str) -> None:
    """Raise `UserError` for an option that does not exist or cannot have its value.

    A count is a whole number whose default is one: 1 or more; where the default is 0, which stands for a
    rule, 0 is right too.
    """
    for name, value in given.items():
        if name not in known:
            raise unknown(f"option of {whose}", name, known)
        argument = known[name]
        if isinstance(value, str) and argument.choices and not argument.kinds and not argument.repeated:
            if value not in argument.choices:
                raise unknown(f"{name} of {whose} ({setting}.{name})", value, map(str, argument.choices))
            continue
        if why := argument.refusal(value):
            raise UserError(f"{setting}.{name}={value}: {why}")


def check_section(
    given: Mapping[str, Any], defaults: Mapping[str, Any], section: str, whose: str, source: str | None
) -> None:
    """As `check`, of the options in a section of settings, whose defaults stand in a file of `conf/`."""
    known = {name: signature.of_default(name, value) for name, value in defaults.items()}
    if section == "backbone.args":
        if source == "timm":  # whose networks take arguments of their own, checked when they are built
            given = {name: value for name, value in given.items() if name in known}
        else:
            known |= builder(str(source))
    check(given, known, section, f"{whose} ({section})")


@cache
def builder(source: str) -> Mapping[str, Argument]:
    """What the builder of a backbone's file takes beside classes and size."""
    path = PACKAGE / "backbones" / f"{source}.py"
    if source not in sources():
        raise unknown("source of a backbone (backbone.source)", source, [*sources(), "timm"])
    module = ast.parse(path.read_text(encoding="utf-8"))
    build = next(n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == "build")
    return dict(list(signature.read(build, module).items())[2:])


@cache
def sources() -> tuple[str, ...]:
    """The files under attnbench/backbones that build a network."""
    return tuple(sorted(Path(p).stem for p in (PACKAGE / "backbones").glob("[!_]*.py")))


def check_task(task: Task, classes: int) -> None:
    """Raise `UserError` for the first of the task's options that cannot be meant together."""
    if task.name not in names("task"):
        raise unknown("task (task.name)", task.name, names("task"))
    chosen = task.options
    for name, words in WORDS.items():
        if name in chosen and chosen[name] not in words:
            raise unknown(f"{name} (task.options.{name})", chosen[name], words)
    if "decoder" in chosen:
        _check_network(chosen)
        _check_loss(chosen, classes)
        _check_windows(chosen)


def _check_network(chosen: Mapping[str, Any]) -> None:
    """Of the network for segmentation."""
    if chosen.get("output_stride", 8) not in STRIDES:
        raise UserError(f"task.options.output_stride={chosen['output_stride']}: 8, 16 or 32")
    if not 0 <= chosen.get("dropout", 0) < 1:
        raise UserError(f"task.options.dropout={chosen['dropout']}: at least 0 and below 1")
    if not chosen.get("auxiliary", 0) >= 0:
        raise UserError(f"task.options.auxiliary={chosen['auxiliary']}: must be 0 or more")


def _check_loss(chosen: Mapping[str, Any], classes: int) -> None:
    """Of the loss of segmentation."""
    if not 0 < chosen.get("ohem_threshold", 1) <= 1:
        raise UserError(f"task.options.ohem_threshold={chosen['ohem_threshold']}: above 0, at most 1")
    weights = chosen.get("class_weights")
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
    crop, stride = (pair(name, chosen.get(name)) for name in ("crop", "stride"))
    if stride is not None and crop is None:
        raise UserError("task.options.stride is set without task.options.crop, the window's size")
    if stride is not None and crop is not None and (stride[0] > crop[0] or stride[1] > crop[1]):
        raise UserError(f"task.options.stride={stride}: above crop={crop}, so that pixels would be left out")
    scales = chosen.get("scales", [1.0])
    if not scales or min(scales) <= 0:
        raise UserError(f"task.options.scales={scales}: a list of numbers above 0, such as [0.75, 1.0, 1.25]")


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
