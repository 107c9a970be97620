"""Settings as Python gives them, as the words of the command line."""

from collections.abc import Mapping, Sequence
from typing import Any

from attnbench.config import keys
from attnbench.errors import UserError


def words(given: Sequence[Any], settings: Mapping[str, Any]) -> list[str]:
    """`"recipe.epochs=2", attn="se"` -> `recipe.epochs=2 attn=se`; raises `UserError` for what is no word."""
    for word in given:
        if not isinstance(word, str):
            raise UserError(f"{word!r}: give settings as words, 'attn=se', or keywords, attn='se'")
    return [*given, *(f"{key}={_text(value)}" for key, value in settings.items())]


def axes(given: Sequence[Any], settings: Mapping[str, Any]) -> list[str]:
    """As `words`, where a list of several values stands for each of them."""
    listed = {k: v for k, v in settings.items() if isinstance(v, list | tuple | range)}
    single = {k: v for k, v in settings.items() if k not in listed}
    several = (f"{key}={','.join(map(_text, values))}" for key, values in listed.items())
    return [*words(given, single), *several]


def _text(value: Any) -> str:
    return keys.text(str(value) if hasattr(value, "__fspath__") else value)
