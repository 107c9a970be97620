"""How many seeds would decide a difference, as pure functions on arrays."""

import numpy as np

MOST_SEEDS = 50  # more than anyone runs
POWER = 0.8
LIKELY = 0.8  # level of the interval of the standard deviation that gives the range


def needed(
    sd: np.ndarray, df: np.ndarray, difference: float, family: np.ndarray, level: float = 0.95
) -> list[tuple[int | None, int | None] | None]:
    """Of each row (rows,), the fewest and the most seeds that find a true difference of that size.

    They find it with probability `POWER` after the sharpest of Holm's factors, `family` rows (rows,), for a
    standard deviation at either end of its interval. An end beyond `MOST_SEEDS` is None; a row without a
    standard deviation has no range.
    """
    from scipy.special import chdtri

    with np.errstate(invalid="ignore"):
        small, large = (np.sqrt(df / chdtri(df, tail)) for tail in ((1 - LIKELY) / 2, (1 + LIKELY) / 2))
        ends = [_fewest(sd * factor, difference, family, level) for factor in (small, large)]
    return [
        None if np.isnan(s) else (_within(low), _within(high)) for s, low, high in zip(sd, ends[0], ends[1])
    ]


def _within(seeds: int) -> int | None:
    return int(seeds) if seeds <= MOST_SEEDS else None


def _fewest(sd: np.ndarray, difference: float, family: np.ndarray, level: float) -> np.ndarray:
    """Seeds (rows,) from 2 that find the difference often enough, `MOST_SEEDS` + 1 where none do."""
    from scipy.special import nctdtr, stdtrit

    low, high = np.ones(sd.shape, int), np.full(sd.shape, MOST_SEEDS + 1)
    tail = (1 - level) / 2 / np.maximum(family, 1)
    while (high - low > 1).any():
        middle = (low + high) // 2
        df = np.maximum(middle - 1, 1)
        strength = difference * np.sqrt(middle) / sd
        found = (1 - nctdtr(df, np.minimum(strength, 30.0), stdtrit(df, 1 - tail)) >= POWER) & (middle >= 2)
        low, high = np.where(found, low, middle), np.where(found, middle, high)
    return high
