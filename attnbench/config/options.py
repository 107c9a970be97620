"""Options of mechanisms and tasks: what can stand where the default stands. Needs no torch."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from attnbench import tasks
from attnbench.config import files
from attnbench.config.schema import Config, names
from attnbench.errors import UserError, unknown


def check_types(given: Mapping[str, Any], defaults: Mapping[str, Any], setting: str, whose: str) -> None:
    """Raise `UserError` for an option that does not exist, is of another type, or is a count below 1.

    A count is a whole number whose default is one; where that is 0, which stands for a rule, 0 is right, too.
    """
    for name, value in given.items():
        if name not in defaults:
            raise unknown(f"option of {whose}", name, defaults)
        default = defaults[name]
        if not like(value, default):
            kind = type(default).__name__
            raise UserError(f"{setting}.{name}={value}: must be of type {kind}, such as {default!r}")
        if (least := _least(default)) is not None and min(_listed(value), default=least) < least:
            raise UserError(f"{setting}.{name}={value}: must be {least} or more")


def like(value: Any, default: Any) -> bool:
    """Whether a value can stand where the default stands: of its type, or an integer for a float.

    Anything can where the default is None.
    """
    if default is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if isinstance(default, list | tuple):
        return isinstance(value, list | tuple) and all(like(v, d) for d in default[:1] for v in value)
    return isinstance(value, type(default))


def _least(default: Any) -> int | None:
    """The lowest count that can be meant; None where the default is no count."""
    numbers = _listed(default)
    if not numbers or any(type(number) is not int or number < 0 for number in numbers):
        return None
    return min(*numbers, 1)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


@cache
def of_task(name: str) -> Mapping[str, Any]:
    """A task's options and their defaults; raises `UserError` for a task that does not exist."""
    if name not in names("task"):
        raise unknown("task (task.name)", name, names("task"))
    return files.read("task", name).get("options", {})


def check_task(config: Config) -> None:
    """Raise `UserError` for the first of the task's options that cannot be meant."""
    task, known = config.task, of_task(config.task.name)
    check_types(task.options, known, "task.options", f"task {task.name} (task.options)")
    tasks.check_options(config, {**known, **task.options})


def pair(name: str, value: Any) -> tuple[int, int] | None:
    """Height and width, px, of one number for both or a list; raises `UserError` where it is neither."""
    if value is None:
        return None
    sides = _listed(value) * (2 if isinstance(value, int) else 1)
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise UserError(f"task.options.{name}={value}: one number of px, or [height, width]")
    return sides[0], sides[1]
