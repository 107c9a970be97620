"""How much an attention may cost: `max_latency=+5%`, `max_params=30M`, held against what was measured."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from attnbench.errors import UserError
from attnbench.report.tables import latency
from attnbench.report.tables.table import Row

UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9}
FORM = re.compile(r"(?P<sign>[+-]?)(?P<number>\d+(\.\d+)?)(?P<unit>%|[xKMG]?)", re.IGNORECASE)
LARGEST_RATIO = 3.0  # of a latency that is taken for a ratio without a unit

Span = tuple[float, float]  # low and high of what was measured


@dataclass(frozen=True)
class Limit:
    """The most that one kind of cost may be, as a ratio to the control or in the record's own unit."""

    kind: str
    most: float
    relative: bool
    text: str

    def judge(self, row: Row) -> str:
        """`within`, `beyond`, `unsure` where the measured interval holds the limit, or `not measured`."""
        span = KINDS[self.kind](row, self.relative)
        if span is None:
            return "not measured"
        low, high = span
        if high <= self.most:
            return "within"
        return "beyond" if low > self.most else "unsure"


def parse(key: str, text: str) -> Limit:
    """The limit of `max_KIND=TEXT`; raises `UserError` with the forms that are understood."""
    kind = key.removeprefix("max_")
    found = FORM.fullmatch(text.strip())
    if not found or (kind == "latency" and found["unit"].upper() in ("K", "M", "G")):
        forms = "+5% or 1.05x of the control" + (
            "" if kind == "latency" else ", or an amount such as 30M, 4.1G"
        )
        raise UserError(f"{key}={text}: a limit is {forms}")
    value, unit = float(found["sign"] + found["number"]), found["unit"].upper()
    _check_meant(key, text, found["sign"], found["number"], unit)
    if unit == "%":
        # Without a sign a share of the control is meant: 105% is +5%.
        return Limit(kind, (1 if found["sign"] else 0) + value / 100, True, text)
    relative = unit == "X" or kind == "latency"
    return Limit(kind, value * UNITS.get(unit, 1.0), relative, text)


def _check_meant(key: str, text: str, sign: str, digits: str, unit: str) -> None:
    """Raise `UserError` for what is more likely a share with its sign for per cent left out."""
    if sign and unit != "%":
        meant = text.strip().removeprefix(sign) if unit else f"{sign}{digits}%"
        raise UserError(f"{key}={text}: a sign needs a per cent of the control; use {meant}")
    if key == "max_latency" and not unit and float(digits) > LARGEST_RATIO:
        raise UserError(
            f"{key}={text}: ambiguous limit; use +{digits}% (of the control, more) or {digits}x (of it)"
        )


def _latency(row: Row, relative: bool) -> Span | None:
    found = latency.of_row(row)
    if found is None or not found.known:
        return None
    low, high = found.low or found.ratio, found.high or found.ratio
    if abs(found.ratio - 1) <= (found.noise or 0.0):  # as good as the control's own ratio
        return min(low, 1.0), max(high, 1.0)
    return low, high


def _counted(*path: str) -> Callable[[Row, bool], Span | None]:
    def span(row: Row, relative: bool) -> Span | None:
        value, change = row.middle(*path), row.change(*path)
        if value is None or (relative and (change is None or value == change)):
            return None
        amount = value / (value - (change or 0)) if relative else value
        return amount, amount

    return span


KINDS: dict[str, Callable[[Row, bool], Span | None]] = {
    "latency": _latency,
    "params": _counted("cost", "params"),
    "macs": _counted("cost", "macs"),
    "memory": _counted("cost", "peak_memory_bytes"),
}
KEYS = tuple(f"max_{kind}" for kind in KINDS)
