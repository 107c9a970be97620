"""Settings as words of the command line, and those in which a configuration differs from a record's."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any

from attnbench.config.acting import acting
from attnbench.config.schema import Anything
from attnbench.report.load import VARIES
from attnbench.report.tables.folds import FOLD, NOT_SHARED

FOLDS = ".".join(FOLD[1:])  # as the command line has it
NOT_SAID = {*VARIES, *(f"{part}.{key}" for part, keys in NOT_SHARED.items() for key in keys)}
PLAIN = re.compile(r"(?!(null|true|false|nan|inf)$)[A-Za-z_/.][\w./-]*", re.IGNORECASE)  # text without quotes


def options(attn: Mapping[str, Any], defaults: Mapping[str, Any]) -> tuple[str, ...]:
    """The words for what differs from a mechanism's defaults."""
    return tuple(word(f"attn.{k}", v) for k, v in attn.items() if k in defaults and not _same(v, defaults[k]))


def word(key: str, value: Any) -> str:
    """A setting as the command line takes it; several folds as an axis."""
    if key.startswith("~"):
        return key
    return f"{key}={','.join(map(_text, value)) if is_axis(key, value) else _text(value)}"


def is_axis(key: str, value: Any) -> bool:
    """Whether a setting stands for several folds, which a table averages."""
    return key.removeprefix("++") == FOLDS and isinstance(value, list)


def _text(value: Any) -> str:
    """A value by Hydra's grammar."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{k}:{_text(v)}' for k, v in value.items())}}}"
    if not isinstance(value, str) or PLAIN.fullmatch(value):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def apart(made: Any, stored: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The settings that a record has otherwise than they were made, with the record's values."""
    made = acting(made)
    for each in fields(made):
        key, value = f"{prefix}{each.name}", getattr(made, each.name)
        wanted = stored.get(each.name, each.metadata.get("neutral", value))
        if key in NOT_SAID or isinstance(each.metadata.get("neutral"), Anything):
            continue
        if is_dataclass(value):
            # mypy: is_dataclass is true of classes, too, which asdict does not take; a setting is never one.
            yield from apart(value, asdict(wanted) if is_dataclass(wanted) else wanted or {}, f"{key}.")  # type: ignore[arg-type]
        elif isinstance(value, dict):
            yield from _options_apart(value, wanted or {}, f"{key}.")
        elif value != wanted:
            yield key, wanted


def _options_apart(
    made: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, Any]]:
    """As `apart` of free settings, of which either side may lack some.

    Hydra cannot take away one that is null, so such a one is let be.
    """
    for name, value in wanted.items():
        if name not in made:
            yield f"++{prefix}{name}", value
        elif not _same(made[name], value):
            yield f"{prefix}{name}", value
    yield from ((f"~{prefix}{name}", None) for name in made if name not in wanted and made[name] is not None)


def _same(one: Any, other: Any) -> bool:
    """Whether a fingerprint takes them for the same: 0 and 0.0 are not."""
    return json.dumps(one, sort_keys=True, default=str) == json.dumps(other, sort_keys=True, default=str)
