"""Paired comparison of many candidates with one control over seeds, as pure functions on arrays.

One convention throughout: `scores` is (rows, seeds), what each row scored with each seed, NaN where it was
not measured; `control` is (seeds,); `differences` is (..., rows, seeds), NaN where a pair is incomplete, and
leading axes are independent tables. All rows of a table are compared with the same control.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from attnbench.report.statistics.variance import Prior, moderated

RANKED_FROM = 5  # pairs of seeds; a row with fewer is exploratory and enters no family of tests
LEVEL = 0.95  # of all intervals of a table together


@dataclass(frozen=True)
class Effects:
    """What the differences of a table say, each array (..., rows); NaN where the seeds do not suffice."""

    mean: np.ndarray
    low: np.ndarray  # of an interval that holds for all rows at once, and excludes 0 where Holm's p does
    high: np.ndarray
    half_width: np.ndarray  # of the row's interval on its own
    p: np.ndarray  # two-sided, of no difference
    p_holm: np.ndarray  # corrected over the rows of its family that are not exploratory
    pairs: np.ndarray  # seeds that both the row and the control have
    gained: np.ndarray  # pairs in which the row is above the control
    sd: np.ndarray  # of a single difference, moderated
    df: np.ndarray  # of that standard deviation
    family: np.ndarray  # (..., rows) how many rows a row's interval holds together with
    prior: Prior


def paired(scores: Float[np.ndarray, "rows seeds"], control: Float[np.ndarray, " seeds"]) -> np.ndarray:
    """Differences (rows, seeds) of each row to the control of the same seed."""
    return scores - control[None, :]


def effects(
    differences: Float[np.ndarray, "*tables rows seeds"],
    floor: float = 0.0,
    level: float = LEVEL,
    least: int = RANKED_FROM,
    families: Sequence[bool] | None = None,
) -> Effects:
    """Mean difference of each row, its interval by its moderated variance, and p corrected over the rows.

    Rows of which `families` (rows,) differ are corrected apart. Rows with fewer than `least` pairs are
    exploratory: they enter no correction, and their intervals hold together with each other's only. A row
    with one pair has a mean and nothing else; so has every row where no difference varies and `floor`, the
    least variance of a difference, is 0.
    """
    from scipy.special import stdtr, stdtrit

    known = ~np.isnan(differences)
    pairs = known.sum(-1)
    total = np.where(known, differences, 0.0).sum(-1)
    mean = np.divide(total, pairs, out=np.full(pairs.shape, np.nan), where=pairs > 0)
    spread = moderated(differences, floor)
    error = np.sqrt(spread.variance / np.maximum(pairs, 1))
    p = 2 * stdtr(spread.df, -np.abs(mean / error))
    kinds = np.zeros(pairs.shape[-1], bool) if families is None else np.asarray(families, bool)
    corrected, count = _by_family(p, pairs >= least, ~np.isnan(error), kinds)
    reach = error * stdtrit(spread.df, 1 - (1 - level) / 2 / count)
    low, high = _consistent(mean, reach, corrected < 1 - level)
    return Effects(
        mean,
        low,
        high,
        error * stdtrit(spread.df, (1 + level) / 2),
        p,
        corrected,
        pairs,
        (np.where(known, differences, 0.0) > 0).sum(-1),
        np.sqrt(spread.variance),
        spread.df,
        count,
        spread.prior,
    )


def _by_family(
    p: np.ndarray, firm: np.ndarray, judged: np.ndarray, kinds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Holm's p of each firm row among those of its kind, and with how many rows its interval holds."""
    corrected, count = np.full(p.shape, np.nan), np.ones(p.shape, int)
    for kind in (False, True):
        for among in (firm & (kinds == kind), ~firm & (kinds == kind)):
            size = (judged & among).sum(-1, keepdims=True)
            count = np.where(judged & among, np.maximum(size, 1), count)
        own = firm & (kinds == kind)
        corrected = np.where(own, holm(np.where(own, p, np.nan)), corrected)
    return corrected, count


def _consistent(mean: np.ndarray, reach: np.ndarray, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the intervals, which stop at 0 where only a later step of Holm's shows the difference."""
    low, high = mean - reach, mean + reach
    return np.where(shown & (mean > 0), np.maximum(low, 0.0), low), np.where(
        shown & (mean < 0), np.minimum(high, 0.0), high
    )


def mean_interval(scores: Sequence[float], level: float = LEVEL) -> tuple[float, float | None, float | None]:
    """Mean of one row's scores and the t interval of that mean; no ends for one score."""
    from scipy.special import stdtrit

    mean = float(np.mean(scores))
    if len(scores) < 2:
        return mean, None, None
    half_width = stdtrit(len(scores) - 1, (1 + level) / 2) * np.std(scores, ddof=1) / np.sqrt(len(scores))
    return mean, float(mean - half_width), float(mean + half_width)


def holm(p: Float[np.ndarray, "*tables rows"]) -> np.ndarray:
    """Holm's correction of p (..., rows) over the rows of a table that are not NaN."""
    p = np.asarray(p, dtype=float)
    order = np.argsort(p, axis=-1, kind="stable")  # NaN last
    ordered = np.take_along_axis(p, order, -1)
    count = (~np.isnan(p)).sum(-1, keepdims=True)
    factors = np.maximum(count - np.arange(p.shape[-1]), 1)
    stepped = np.minimum(np.maximum.accumulate(factors * ordered, axis=-1), 1.0)
    corrected = np.empty_like(p)
    np.put_along_axis(corrected, order, stepped, -1)
    return corrected


def rank_intervals(
    scores: Float[np.ndarray, "rows seeds"], floor: float = 0.0, least: int = RANKED_FROM
) -> list[tuple[int, int, int] | None]:
    """Place of each row by its mean over the common seeds, 1 the largest, and the interval of that place.

    The interval counts the rows that are shown to be above and below it, Holm's correction over all pairs of
    rows. None for a row with fewer than `least` seeds in common with all other rows that have as many.
    """
    enough = (~np.isnan(scores)).sum(1) >= least
    common = ~np.isnan(scores[enough]).any(0) if enough.any() else np.zeros(scores.shape[1], bool)
    if common.sum() < least or enough.sum() < 2:
        return [None] * len(scores)
    kept = scores[enough][:, common]
    above = _shown_above(kept, floor, least)
    mean = kept.mean(1)
    places = 1 + (mean[None, :] > mean[:, None]).sum(1)
    ends = zip(places, 1 + above.sum(0), len(kept) - above.sum(1))
    found = iter([(int(place), int(low), int(high)) for place, low, high in ends])
    return [next(found) if row else None for row in enough]


def _shown_above(kept: np.ndarray, floor: float, least: int) -> np.ndarray:
    """Whether row i is shown to be above row j, (rows, rows)."""
    i, j = np.triu_indices(len(kept), 1)
    found = effects(kept[i] - kept[j], floor, least=least)
    above = np.zeros((len(kept), len(kept)), bool)
    shown = found.p_holm < 1 - LEVEL
    above[i, j], above[j, i] = shown & (found.mean > 0), shown & (found.mean < 0)
    return above
