"""Fields of the schema with the values that they may hold: numbers of an interval, words, a form of text."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from attnbench.errors import UserError, unknown

NAME = r"\w[\w.+-]{0,63}"  # of what a user may name: safe in a path, on a terminal and in a table
PLACE = r"[^\x00-\x1f\x7f]+"  # a path
NO_NEUTRAL = object()


@dataclass(frozen=True)
class Interval:
    """Numbers between two ends; a round bracket in its notation leaves an end out: (0, 1]."""

    low: float
    high: float
    low_open: bool
    high_open: bool

    @classmethod
    def read(cls, text: str) -> "Interval":
        """The interval that `[0, 1)` denotes."""
        low, _, high = text[1:-1].partition(",")
        return cls(float(low), float(high), text[0] == "(", text[-1] == ")")

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.low_open else value >= self.low
        return above and (value < self.high if self.high_open else value <= self.high)

    def refusal(self, value: float) -> str:
        """What a value outside would have to be."""
        low = f"above {self.low:g}" if self.low_open else f"{self.low:g} or more"
        high = f"below {self.high:,.15g}" if self.high_open else f"at most {self.high:,.15g}"
        if value < self.low or (value == self.low and self.low_open):
            return low
        return high if value >= self.high else f"a number {low} and {high}"


def number(default: Any, interval: str, neutral: Any = NO_NEUTRAL) -> Any:
    """A number, or null where the field's type allows it, within an interval."""
    return field(default=default, metadata=_bounds(neutral, interval=Interval.read(interval)))


def within(interval: str, neutral: Any = NO_NEUTRAL) -> dict[str, Any]:
    """The metadata of a list of numbers, each within an interval."""
    return _bounds(neutral, interval=Interval.read(interval))


def word(default: str, *choices: str, neutral: Any = NO_NEUTRAL) -> Any:
    """One of a few words."""
    return field(default=default, metadata=_bounds(neutral, words=choices))


def text(default: str | None, form: str, meaning: str, neutral: Any = NO_NEUTRAL) -> Any:
    """Text that matches a regular expression as a whole."""
    return field(default=default, metadata=_bounds(neutral, form=re.compile(form), meaning=meaning))


def label(default: str = "???") -> Any:
    """What records and tables call it."""
    return text(default, NAME, "letters, digits and _ . + -, at most 64 characters")


def place(default: str | None) -> Any:
    """A path."""
    return text(default, PLACE, "a path")


def flatten(nested: Mapping[str, Any], mark: str = ".", prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The settings of all depths by their joined names, in their order."""
    for name, value in nested.items():
        if isinstance(value, Mapping):
            yield from flatten(value, mark, f"{prefix}{name}{mark}")
        else:
            yield f"{prefix}{name}", value


def _bounds(neutral: Any, **bounds: Any) -> dict[str, Any]:
    return bounds if neutral is NO_NEUTRAL else {**bounds, "neutral": neutral}


def check(path: str, value: Any, bounds: Mapping[str, Any]) -> None:
    """Raise `UserError` for a value that a field's metadata does not allow; null is allowed."""
    if value is None:
        return
    if (words := bounds.get("words")) is not None and value not in words:
        raise unknown(path, str(value), words)
    if (form := bounds.get("form")) is not None and not form.fullmatch(value):
        raise UserError(f"{path}={value!r}: must be {bounds['meaning']}")
    if (interval := bounds.get("interval")) is None:
        return
    for each in value if isinstance(value, list) else [value]:
        if each not in interval:
            subject = "every number must be" if isinstance(value, list) else "must be"
            raise UserError(f"{path}={value}: {subject} {interval.refusal(each)}")
