"""Settings as words of the command line."""

import json
from collections.abc import Mapping
from typing import Any

from attnbench.config.keys import text


def options(attn: Mapping[str, Any], defaults: Mapping[str, Any]) -> tuple[str, ...]:
    """The words for what differs from a mechanism's defaults."""
    return tuple(word(f"attn.{k}", v) for k, v in attn.items() if k in defaults and not _same(v, defaults[k]))


def word(key: str, value: Any) -> str:
    """A setting as the command line takes it."""
    return f"{key}={text(value)}"


def _same(one: Any, other: Any) -> bool:
    """Whether a fingerprint takes them for the same: 0 and 0.0 are not."""
    return json.dumps(one, sort_keys=True, default=str) == json.dumps(other, sort_keys=True, default=str)
