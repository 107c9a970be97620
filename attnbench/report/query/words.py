"""Settings as words of the command line."""

import json
import re
from collections.abc import Mapping
from typing import Any

PLAIN = re.compile(r"(?!(null|true|false|nan|inf)$)[A-Za-z_/.][\w./-]*", re.IGNORECASE)  # text without quotes


def options(attn: Mapping[str, Any], defaults: Mapping[str, Any]) -> tuple[str, ...]:
    """The words for what differs from a mechanism's defaults."""
    return tuple(word(f"attn.{k}", v) for k, v in attn.items() if k in defaults and not _same(v, defaults[k]))


def word(key: str, value: Any) -> str:
    """A setting as the command line takes it."""
    return f"{key}={text(value)}"


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


def _same(one: Any, other: Any) -> bool:
    """Whether a fingerprint takes them for the same: 0 and 0.0 are not."""
    return json.dumps(one, sort_keys=True, default=str) == json.dumps(other, sort_keys=True, default=str)
