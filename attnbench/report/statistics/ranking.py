"""Rankings over several tables, as pure functions on arrays.

`gains` is (tables, rows): what each row gained in each table, complete. Rank 1 is the largest gain; ties
share the mean of their places. `ranks` is (tables, rows).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float

ENOUGH_BLOCKS = 10  # from which the approximation of Friedman's test holds
ENOUGH_ROWS = 3


@dataclass(frozen=True)
class Friedman:
    """Whether rows differ at all over the tables, and by how much mean ranks must differ to count."""

    statistic: float  # F of Iman and Davenport
    p: float
    critical_difference: float  # Nemenyi's, of mean ranks, at 5 %
    rows: int
    blocks: int


def ranked(gains: Float[np.ndarray, "tables rows"]) -> np.ndarray:
    """Places (tables, rows) within each table."""
    from scipy.stats import rankdata

    return rankdata(-gains, axis=1)


def blocks(gains: Float[np.ndarray, "tables rows"], names: Sequence[Any]) -> np.ndarray:
    """Means (blocks, rows) of the tables of the same name, in the order of the names.

    Tables that share a backbone or a data set share what it favors; only their mean is an independent vote.
    """
    found = sorted(set(names))
    each = [[own == name for own in names] for name in found]
    return np.array([gains[own].mean(0) for own in each]).reshape(len(found), gains.shape[1])


def profile(gains: Float[np.ndarray, "tables rows"], within: Sequence[float]) -> np.ndarray:
    """Share of tables (rows, thresholds) in which each row is within so many points of the best."""
    behind = gains.max(1, keepdims=True) - gains
    return (behind[:, :, None] <= np.asarray(within) + 1e-12).mean(0)


def agreement(ranks: Float[np.ndarray, "tables rows"], kept: np.ndarray) -> float:
    """Kendall's tau of the ranking by mean rank over all tables and over the kept ones (tables,)."""
    from scipy.stats import kendalltau

    return float(kendalltau(ranks.mean(0), ranks[kept].mean(0)).statistic)


def friedman(ranks: Float[np.ndarray, "tables rows"], level: float = 0.95) -> Friedman | None:
    """Friedman's test with Iman and Davenport's correction; None with too few tables or rows."""
    from scipy.stats import f as fisher

    n, k = ranks.shape
    if n < ENOUGH_BLOCKS or k < ENOUGH_ROWS:
        return None
    spread = ((ranks - (k + 1) / 2) ** 2).sum()  # less than without ties
    between = n * ((ranks.mean(0) - (k + 1) / 2) ** 2).sum()
    chi = between * n * (k - 1) / spread if spread else 0.0
    rest = n * (k - 1) - chi
    statistic = float((n - 1) * chi / rest) if rest > 0 else float("inf")
    p = float(fisher.sf(statistic, k - 1, (k - 1) * (n - 1)))
    return Friedman(statistic, p, _quantile(level, k) * float(np.sqrt(k * (k + 1) / (6 * n))), k, n)


def combined(found: Sequence[Friedman]) -> Friedman:
    """The test over blocks of several factors at once, whose variances add up in the rows' means."""
    from scipy.stats import f as fisher

    if len(found) == 1:
        return found[0]
    inverse = sum(1 / each.statistic if each.statistic else np.inf for each in found)
    statistic = 1 / inverse if inverse else float("inf")
    rows, blocks = found[0].rows, min(each.blocks for each in found)
    p = float(fisher.sf(statistic, rows - 1, (rows - 1) * (blocks - 1)))
    difference = float(np.sqrt(sum(each.critical_difference**2 for each in found)))
    return Friedman(statistic, p, difference, rows, blocks)


@cache
def _quantile(level: float, rows: int) -> float:
    """Of the range of that many independent normals over the root of 2."""
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(level, rows, np.inf) / np.sqrt(2))
