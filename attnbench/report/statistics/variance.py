"""Variances of a table's rows, each moderated by what all rows say of it (Smyth 2004), as pure functions.

`differences` is (..., rows, seeds), NaN where a pair is incomplete; leading axes are independent tables.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

SHARED = 0.25  # squared correlation of two rows' differences: control and candidates vary alike
CLIPPED = (0.1, 0.9)  # quantiles of the rows' log variances that the prior is fitted within
NEWTON = 12  # steps, after which the inverse of trigamma is exact in double precision


@dataclass(frozen=True)
class Prior:
    """What variance a row has before its own seeds are seen: scaled inverse chi-square."""

    variance: np.ndarray  # (...,)
    df: np.ndarray  # (...,) infinite where the rows' variances do not differ more than by chance


@dataclass(frozen=True)
class Spread:
    """Variance (..., rows) of a single difference of each row, and its degrees of freedom."""

    variance: np.ndarray
    df: np.ndarray
    prior: Prior


def moderated(differences: Float[np.ndarray, "*tables rows seeds"], floor: float = 0.0) -> Spread:
    """The larger of each row's own variance and of its moderated one; NaN for rows of fewer than two pairs.

    A row of large variance keeps its own with n - 1 degrees of freedom, so that neither its interval is too
    short nor those of the others too long. `floor` is the least variance that the metric's resolution allows.
    """
    known = ~np.isnan(differences)
    pairs = known.sum(-1)
    df = np.maximum(pairs - 1, 1).astype(float)
    own = np.maximum(_sum_of_squares(differences, known) / df, floor)
    usable = (pairs >= 2) & (own > 0)
    prior = fit(own, df, usable)
    before, scale = prior.df[..., None], prior.variance[..., None]
    with np.errstate(invalid="ignore"):
        weight = np.where(np.isinf(before), 1.0, before / (before + df))
    shrunk = weight * scale + (1 - weight) * own
    alike = np.minimum(before + df, np.maximum(_shared_df(known)[..., None], df))
    judged = (pairs >= 2) & (usable.any(-1, keepdims=True))
    return Spread(
        np.where(judged, np.maximum(own, shrunk), np.nan),
        np.where(judged, np.where(own >= shrunk, df, alike), np.nan),
        prior,
    )


def fit(
    variance: Float[np.ndarray, "*tables rows"],
    df: Float[np.ndarray, "*tables rows"],
    usable: np.ndarray,
) -> Prior:
    """The prior by the moments of the log variances, clipped to their middle quantiles.

    One row has no neighbours: its prior has no degrees of freedom.
    """
    from scipy.special import digamma, polygamma

    rows = usable.sum(-1)
    any_row = rows > 0
    if not any_row.any():
        return Prior(np.full(rows.shape, np.nan), np.zeros(rows.shape))
    logs = np.log(np.where(usable, variance, 1.0)) - digamma(df / 2) + np.log(df / 2)
    low, high = (_quantile(logs, usable, share) for share in CLIPPED)
    logs = np.clip(logs, low[..., None], high[..., None])
    mean = _mean(logs, usable)
    squares = _mean((logs - mean[..., None]) ** 2, usable) * rows / np.maximum(rows - 1, 1)
    more = squares - _mean(polygamma(1, df / 2), usable)
    before = np.where(more > 0, 2 * _inverse_trigamma(np.where(more > 0, more, 1.0)), np.inf)
    half = np.where(np.isinf(before), 1.0, before / 2)
    shift = np.where(np.isinf(before), 0.0, digamma(half) - np.log(half))
    scale = np.exp(mean + shift)
    return Prior(np.where(any_row, scale, np.nan), np.where(rows > 1, before, 0.0))


def _mean(values: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """(...,) means over the usable rows."""
    return np.where(usable, values, 0.0).sum(-1) / np.maximum(usable.sum(-1), 1)


def _quantile(values: np.ndarray, usable: np.ndarray, share: float) -> np.ndarray:
    """(...,) quantiles of the usable rows, by linear interpolation."""
    ordered = np.sort(np.where(usable, values, np.inf), axis=-1)
    last = np.maximum(usable.sum(-1) - 1, 0)
    below = np.floor(share * last).astype(int)
    above = np.minimum(below + 1, last)
    ends = (np.take_along_axis(ordered, at[..., None], -1)[..., 0] for at in (below, above))
    low, high = (np.where(np.isinf(end), 0.0, end) for end in ends)
    return low + (share * last - below) * (high - low)


def _sum_of_squares(differences: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(..., rows) squares around each row's mean."""
    filled = np.where(known, differences, 0.0)
    mean = filled.sum(-1, keepdims=True) / np.maximum(known.sum(-1, keepdims=True), 1)
    return (np.where(known, filled - mean, 0.0) ** 2).sum(-1)


def _shared_df(known: np.ndarray) -> np.ndarray:
    """Degrees of freedom (...,) of a variance pooled over rows that share their control (Satterthwaite).

    The rows' differences are correlated (by a half, where all networks vary alike) and tell less of the
    variance than as many independent ones would.
    """
    pairs = known.sum(-1)
    used = pairs >= 2
    present = (known & used[..., None]).astype(float)
    count = np.where(used, pairs, 1).astype(float)
    own = ((count - 1) * used).sum(-1)
    shared = present @ np.swapaxes(present, -1, -2)
    down, across = count[..., :, None], count[..., None, :]
    weight = shared - shared / down - shared / across + shared**2 / (down * across)
    total = (1 - SHARED) * np.trace(weight, axis1=-2, axis2=-1) + SHARED * weight.sum((-1, -2))
    return np.divide(own**2, total, out=np.zeros_like(own), where=total > 0)


def _inverse_trigamma(value: np.ndarray) -> np.ndarray:
    """Where trigamma has these values, by Newton's method on its reciprocal."""
    from scipy.special import polygamma

    at = 0.5 + 1 / value
    for _ in range(NEWTON):
        there = polygamma(1, at)
        at = at + there * (1 - there / value) / polygamma(2, at)
    return at
