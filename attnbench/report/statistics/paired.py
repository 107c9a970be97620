"""Paired comparison of many candidates with one control over seeds, as pure functions on arrays.

One convention throughout: `scores` is (rows, seeds), what each row scored with each seed, NaN where it
was not measured; `control` is (seeds,); `differences` is (rows, seeds), NaN where a pair is incomplete.
All rows are compared with the same control, and the results say so where it matters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

RANKED_FROM = 5  # pairs of seeds; what has fewer is exploratory
MOST_SEEDS = 2**20  # beyond which nobody trains
SHARED = 0.25  # squared correlation of two rows' differences: control and candidates vary alike


@dataclass(frozen=True)
class Effects:
    """What the differences of a table say, each array (rows,); NaN where the seeds do not suffice."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray  # two-sided, of no difference
    p_holm: np.ndarray  # corrected over the rows
    pairs: np.ndarray  # seeds that both the row and the control have
    deviation: float  # pooled standard deviation of a single difference
    freedom: float  # degrees of freedom of that deviation


def paired(scores: Float[np.ndarray, "rows seeds"], control: Float[np.ndarray, " seeds"]) -> np.ndarray:
    """Differences (rows, seeds) of each row to the control of the same seed."""
    return scores - control[None, :]


def pooled(differences: Float[np.ndarray, "rows seeds"]) -> tuple[float, float]:
    """Standard deviation of a difference, pooled over the rows with two pairs or more, and its freedom.

    The rows share their control, so that their differences are correlated (by a half, where all networks
    vary alike) and tell less of the variance than as many independent ones would. The degrees of freedom
    are those of the chi-square that has the pooled variance's mean and variance (Satterthwaite); counting
    each row's own would cover 93 % where 95 % are claimed. (nan, 0) where no row has two pairs.
    """
    known = ~np.isnan(differences)
    kept = known.sum(1) >= 2
    known, differences = known[kept], differences[kept]
    count = known.sum(1)
    own = int((count - 1).sum())
    if not own:
        return float("nan"), 0.0
    centred = np.where(known, differences - np.nanmean(differences, 1, keepdims=True), 0.0)
    shared = known.astype(float) @ known.T.astype(float)
    weight = shared - shared / count - shared / count[:, None] + shared**2 / (count * count[:, None])
    freedom = own**2 / ((1 - SHARED) * np.trace(weight) + SHARED * weight.sum())
    return float(np.sqrt((centred**2).sum() / own)), float(freedom)


def effects(differences: Float[np.ndarray, "rows seeds"], level: float = 0.95) -> Effects:
    """Mean difference of each row with its pooled t interval, and p corrected over the rows.

    A row with one pair has a mean and nothing else; so has every row where the differences do not vary.
    """
    from scipy.special import stdtr, stdtrit

    pairs = (~np.isnan(differences)).sum(1)
    total = np.nansum(differences, 1)
    mean = np.divide(total, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    deviation, freedom = pooled(differences)
    judged = (pairs >= 2) & (deviation > 0)
    error = np.where(judged, deviation / np.sqrt(np.maximum(pairs, 1)), np.nan)
    reach = error * (stdtrit(freedom, (1 + level) / 2) if freedom else np.nan)
    p = 2 * stdtr(freedom, -np.abs(mean / error)) if freedom else np.full(len(pairs), np.nan)
    return Effects(mean, mean - reach, mean + reach, p, holm(p), pairs, deviation, freedom)


def mean_interval(scores: Sequence[float], level: float = 0.95) -> tuple[float, float | None, float | None]:
    """Mean of one row's scores and the t interval of that mean; no ends for one score."""
    from scipy.special import stdtrit

    mean = float(np.mean(scores))
    if len(scores) < 2:
        return mean, None, None
    reach = stdtrit(len(scores) - 1, (1 + level) / 2) * np.std(scores, ddof=1) / np.sqrt(len(scores))
    return mean, float(mean - reach), float(mean + reach)


def holm(p: Float[np.ndarray, " rows"]) -> np.ndarray:
    """Holm's correction of p (rows,) over those that are not NaN."""
    p = np.asarray(p, dtype=float)
    corrected = np.full(p.shape, np.nan)
    order = [i for i in np.argsort(p, kind="stable") if not np.isnan(p[i])]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1.0)
    return corrected


def ranks(mean: Float[np.ndarray, " rows"], pairs: np.ndarray, least: int = RANKED_FROM) -> list[int | None]:
    """Place of each row among those with at least `least` pairs, 1 the largest mean; None: not ranked."""
    ranked = mean[pairs >= least]
    return [1 + int((ranked > m).sum()) if n >= least else None for m, n in zip(mean, pairs)]


def probability(found: Effects) -> np.ndarray:
    """Of each row (rows,): how likely one more seed puts it above the control; NaN where nothing is known.

    The prediction of a new difference: t at the mean over its standard error, sd sqrt(1 + 1/n).
    """
    from scipy.special import stdtr

    if not found.freedom or not found.deviation > 0:
        return np.full(len(found.pairs), np.nan)
    spread = found.deviation * np.sqrt(1 + 1 / np.maximum(found.pairs, 1))
    return np.where(found.pairs >= 2, stdtr(found.freedom, found.mean / spread), np.nan)


def seeds_needed(found: Effects, difference: float, level: float = 0.95, power: float = 0.8) -> int | None:
    """Pairs a row by which a true difference of that size is found with that probability; None: not known.

    Found means p below 1 - level after the sharpest of Holm's factors, the number of judged rows. The
    degrees of freedom grow with the pairs as they do in the table at hand.
    """
    from scipy.special import nctdtr, stdtrit

    if not found.freedom or not found.deviation > 0:
        return None
    judged = ~np.isnan(found.p)
    tail = (1 - level) / 2 / max(int(judged.sum()), 1)
    each = found.freedom / float(np.mean(found.pairs[judged] - 1))

    def reached(pairs: int) -> bool:
        freedom = each * (pairs - 1)
        strength = difference * np.sqrt(pairs) / found.deviation
        return 1 - nctdtr(freedom, strength, stdtrit(freedom, 1 - tail)) >= power

    low, high = 1, 2
    while not reached(high):
        low, high = high, 2 * high
        if high > MOST_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
