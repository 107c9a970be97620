"""Names of settings: which there are, near ones for those that do not exist, and their values as words."""

import json
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from attnbench.config.schema import Config
from attnbench.errors import UserError, near

PLAIN = re.compile(r"(?!(null|true|false|nan|inf)$)[A-Za-z_/.][\w./-]*", re.IGNORECASE)  # text without quotes
INSTEAD = {  # Hydra's own settings -> what attnbench has for the same purpose
    "run": "results=FOLDER and runs=FOLDER name the folders that are written to",
    "sweep": "results=FOLDER and runs=FOLDER name the folders that are written to",
    "sweeper": "-m or an experiment makes a sweep",
    "launcher": "launch=processes, inline, slurm or ray runs a sweep's cells",
    "searchpath": "--config-dir FOLDER adds a folder of configuration files",
    "mode": "-m runs several cells",
}


def check(key: str) -> bool:
    """Whether a setting's name is free (any is right); raises `UserError` where there is no such setting."""
    kind: Any = Config
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if kind is Any:
            return True
        inner = get_args(kind)[1] if get_origin(kind) is dict else _types(kind).get(part)
        if inner is None:
            raise _unknown(key, part, ".".join(parts[:depth]), list(_types(kind)))
        kind = inner
    return kind in (Any, dict[str, Any])


def of_hydra(word: str) -> UserError:
    """The error for a setting of Hydra's own."""
    part = re.split(r"[./=]", word.lstrip("+~"), maxsplit=2)[1]
    instead = INSTEAD.get(part, "attnbench does not use Hydra's runner")
    return UserError(f"{word}: {instead}")


@cache
def _types(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind) if is_dataclass(kind) else {}


def _unknown(key: str, part: str, at: str, here: list[str]) -> UserError:
    if not here:
        return UserError(f"unknown setting '{key}': {at} takes no settings of its own")
    close = [f"{at}.{name}" if at else name for name in near(part, here)] or near(key, _paths(Config))
    where = f"{at or 'the configuration'} has: {', '.join(here)}"
    return UserError(
        f"unknown setting '{key}': " + (f"did you mean {' or '.join(close)}?" if close else where)
    )


def _paths(kind: Any, prefix: str = "") -> Iterator[str]:
    for each in fields(kind):
        yield f"{prefix}{each.name}"
        inner = _types(kind)[each.name]
        if is_dataclass(inner):
            yield from _paths(inner, f"{prefix}{each.name}.")


def text(value: Any) -> str:
    """A value by Hydra's grammar."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(text, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{k}:{text(v)}' for k, v in value.items())}}}"
    if not isinstance(value, str) or PLAIN.fullmatch(value):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
