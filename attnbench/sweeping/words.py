"""What a word stands for: a mechanism's name, `all`, a category of the survey, a card's tag, or `control`."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from attnbench import mechanisms
from attnbench.errors import unknown


def expand(value: str | Mapping[str, Any]) -> list[str | Mapping[str, Any]]:
    """The mechanisms meant, by name or, with options, as given; unknown words stay as they are."""
    if not isinstance(value, str):
        return [value]
    if value == "all":
        return list(mechanisms.entries())
    return list(_groups().get(value, [value])) if value not in mechanisms.known() else [value]


def check(word: str, what: str) -> None:
    """Raise `UserError` for a word that stands for no mechanism."""
    if word not in known():
        raise unknown(what, word, known())


def known() -> set[str]:
    """Every word that stands for mechanisms."""
    return {"all", *mechanisms.known(), *_groups()}


@cache
def _groups() -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {mechanisms.CONTROL: mechanisms.placed_controls()}
    for entry in mechanisms.entries().values():
        for word in {entry.category, *tags(entry)}:
            found.setdefault(word, []).append(entry.name)
    return found


def tags(entry: mechanisms.Entry) -> set[str]:
    """Words that a card files its mechanism under, in lower case: soft or hard, tasks, sites, venue, year."""
    if entry.name == "none":
        return set()
    card = entry.card
    sites = card["site"] if isinstance(card["site"], tuple) else (card["site"],)
    words = (*card["tasks"], *sites, *card["venue"].split(), "soft" if card["soft"] else "hard")
    return {word.lower() for word in words}
