"""Each row of a table against its control: differences, ranks, and what is left without collapsed seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attnbench.mechanisms import CONTROL
from attnbench.report.statistics import power
from attnbench.report.statistics.paired import Effects, effects, paired, rank_intervals
from attnbench.report.statistics.variance import Prior

if TYPE_CHECKING:
    from attnbench.report.tables.table import Row


@dataclass(frozen=True)
class Effect:
    """A row's difference to the control; None where its seeds do not suffice."""

    mean: float | None
    low: float | None  # of an interval that holds for all rows of the table at once
    high: float | None
    half_width: float | None  # of the row's interval on its own
    p: float | None
    p_holm: float | None  # among the mechanisms, or among the controls of equal cost; None if exploratory
    pairs: int
    gained: int  # pairs in which the row is above the control
    sd: float | None  # of one paired difference, moderated
    df: float | None
    needed: tuple[int | None, int | None] | None  # pairs that would decide the difference that matters


Rank = tuple[int, int, int]  # place among all rows, and the interval of that place


def compare(
    rows: Sequence["Row"], control: "Row", metric: str, floor: float, difference: float
) -> Prior | None:
    """Give each row its effect and all of them, the control included, their ranks; the prior of variances.

    `floor` is the least variance of a difference, `difference` the one that matters; both in points. Controls
    of equal cost make no claim of a mechanism: they are corrected among themselves.
    """
    scores, base = _matrix(rows, control, metric)
    kinds = [row.category == CONTROL for row in rows]
    found = effects(paired(scores, base), floor, families=kinds)
    for row, effect in zip(rows, each(found, difference)):
        row.effect, row.difference = effect, difference
    for row, place in zip((control, *rows), rank_intervals(np.vstack([base[None], scores]), floor)):
        row.rank = place
    if any(row.collapsed for row in (control, *rows)):
        kept = _without_collapsed(rows, control, scores)
        left = effects(paired(kept, base), floor, families=kinds)
        for row, effect in zip(rows, each(left, difference)):
            row.trained = effect if row.collapsed or control.collapsed else None
    return found.prior if (found.pairs >= 2).any() else None


def _without_collapsed(rows: Sequence["Row"], control: "Row", scores: np.ndarray) -> np.ndarray:
    """The scores (rows, seeds) with NaN where the row or the control collapsed."""
    seeds = _seeds(rows, control)
    lost = [[s in row.collapsed or s in control.collapsed for s in seeds] for row in rows]
    return np.where(np.array(lost, bool).reshape(scores.shape), math.nan, scores)


def _matrix(rows: Sequence["Row"], control: "Row", metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Scores (rows, seeds) of the rows, and (seeds,) of the control; NaN where there is none."""
    seeds = _seeds(rows, control)
    paired = [row.score(metric, beside=control) for row in (control, *rows)]
    lines = [[found.get(seed, math.nan) for seed in seeds] for found in paired]
    matrix = np.array(lines, float).reshape(1 + len(rows), len(seeds))
    return matrix[1:], matrix[0]


def _seeds(rows: Sequence["Row"], control: "Row") -> list[int]:
    return sorted({seed for row in (*rows, control) for seed in row.seeds})


def each(found: Effects, difference: float) -> list[Effect]:
    """The effect of each row, with None for NaN."""
    ranges = power.needed(found.sd, found.df, difference, found.family)
    return [_effect(found, i, each) for i, each in enumerate(ranges)]


def _effect(found: Effects, i: int, needed: tuple[int | None, int | None] | None) -> Effect:
    def at(column: np.ndarray) -> float | None:
        return None if math.isnan(column[i]) else float(column[i])

    return Effect(
        mean=at(found.mean),
        low=at(found.low),
        high=at(found.high),
        half_width=at(found.half_width),
        p=at(found.p),
        p_holm=at(found.p_holm),
        pairs=int(found.pairs[i]),
        gained=int(found.gained[i]),
        sd=at(found.sd),
        df=at(found.df),
        needed=needed,
    )
