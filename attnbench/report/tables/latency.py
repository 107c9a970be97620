"""A row's latency from all of its seeds' measurements, which are of one network: the good ones decide."""

import math
import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnbench.report.load import at, finite
from attnbench.report.statistics.paired import mean_interval
from attnbench.report.tables.table import CONTROL, Row

INFERENCE, TRAINING = "latency", "latency_training"  # in a record's cost
AGREEMENT = 0.03  # by which a ratio of CPU times may be off, as measured against the clock on an idle machine
SPREAD_FROM = 3  # measurements, whose spread gives an interval
SIGNS = {"steady": "", "unsteady": " †", "disturbed": " ‡"}
LEGEND = {
    "†": "not steady: the ratio varied by more than 2 % between rounds",
    "‡": "the clock was disturbed by other work on the machine",
    "CPU": "ratio of CPU times, which other work on the machine disturbs less",
}


@dataclass(frozen=True)
class Latency:
    """Time of a row relative to the control's, measured in the same process."""

    ratio: float
    low: float | None
    high: float | None
    noise: float | None  # how far from 1 the control's ratio to itself lies
    ms: float | None
    control_ms: float | None
    kind: str  # clock, CPU or, for the control, A/A
    quality: str  # steady, unsteady or disturbed
    used: int  # measurements of
    every: int  # all

    @property
    def known(self) -> bool:
        """Whether it may decide anything."""
        return self.quality != "disturbed"

    def __str__(self) -> str:
        """`1.27 [1.25, 1.30]`, `≈ 1` within the noise, `1 (A/A ± 2.1 %)` for the control, with its marks."""
        sign = SIGNS[self.quality]
        if self.kind == "A/A":
            return f"1 (A/A ± {100 * (self.noise or 0):.1f} %){sign}"
        clock = " CPU" if self.kind == "CPU" else ""
        if self.kind == "clock" and self.noise is not None and abs(self.ratio - 1) <= self.noise:
            return f"≈ 1{sign}"
        ends = "" if self.low is None or self.high is None else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.ratio:.2f}{ends}{clock}{sign}"


def of_row(row: Row, part: str = INFERENCE) -> Latency | None:
    """The measurements of all seeds as one; None without any.

    Undisturbed and steady ones count, else undisturbed ones, else the ratios of CPU times, else all by the
    clock. Their median has the interval of their spread, or with fewer than three the measurements' own
    intervals, widened by the noise.
    """
    every = [found for r in row.records if isinstance(found := at(r, "cost", part), dict)]
    every = [found for found in every if finite(found.get("ratio")) is not None]
    if not every:
        return None
    quality, used = _best(every)
    if row.attn == CONTROL:
        return _of_control(used, quality, len(every))
    kind = "clock"
    if quality == "disturbed" and (timed := [f for f in used if finite(f.get("cpu_ratio")) is not None]):
        kind, used = "CPU", timed
    key = "cpu_ratio" if kind == "CPU" else "ratio"
    ratios = [float(found[key]) for found in used]
    low, high = _ends(ratios, used, kind)
    noise, ms, control_ms = (_median(used, name) for name in ("noise", "median_ms", "control_ms"))
    ratio = statistics.median(ratios)
    return Latency(ratio, low, high, noise, ms, control_ms, kind, quality, len(used), len(every))


def _best(every: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """How good the best of the measurements are, and those."""
    calm = [found for found in every if not found.get("disturbed")]
    steady = [found for found in calm if found.get("steady", True)]
    if steady:
        return "steady", steady
    return ("unsteady", calm) if calm else ("disturbed", every)


def _of_control(used: list[dict[str, Any]], quality: str, every: int) -> Latency:
    """The control is once itself; what was measured is how well."""
    noise, ms = _median(used, "noise"), _median(used, "control_ms")
    low, high = (None, None) if noise is None else (1 - noise, 1 + noise)
    return Latency(1.0, low, high, noise, ms, ms, "A/A", quality, len(used), every)


def _ends(ratios: list[float], used: list[dict[str, Any]], kind: str) -> tuple[float | None, float | None]:
    """The interval of the median."""
    if len(ratios) >= SPREAD_FROM:
        middle = math.log(statistics.median(ratios))
        _, low, high = mean_interval(np.log(ratios).tolist())
        half_width = ((high or 0.0) - (low or 0.0)) / 2
        return math.exp(middle - half_width), math.exp(middle + half_width)
    if kind == "CPU":
        return min(ratios) * (1 - AGREEMENT), max(ratios) * (1 + AGREEMENT)
    lows, highs = (
        [v for f in used if (v := finite(f.get(key))) is not None] for key in ("ratio_low", "ratio_high")
    )
    if not lows or not highs:
        return None, None
    noise = _median(used, "noise") or 0.0
    return min(lows) * (1 - noise), max(highs) * (1 + noise)


def _median(found: list[dict[str, Any]], key: str) -> float | None:
    values = [v for f in found if (v := finite(f.get(key))) is not None]
    return statistics.median(values) if values else None


def legend(shown: list[str]) -> list[str]:
    """What the marks mean that cells of these texts bear."""
    return [f"{mark}: {text}" for mark, text in LEGEND.items() if any(mark in cell for cell in shown)]
