"""Each row of a table against its control: differences, ranks, and what is left without collapsed seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

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
    p_holm: float | None  # None for an exploratory row, too
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

    `floor` is the least variance of a difference, `difference` the one that matters; both in points.
    """
    scores, base = _matrix(rows, control, metric)
    found = effects(paired(scores, base), floor)
    for row, effect in zip(rows, each(found, difference)):
        row.effect, row.difference = effect, difference
    for row, place in zip((control, *rows), rank_intervals(np.vstack([base[None], scores]), floor)):
        row.rank = place
    if any(row.collapsed for row in (control, *rows)):
        kept = _without_collapsed(rows, control, scores)
        for row, effect in zip(rows, each(effects(paired(kept, base), floor), difference)):
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
    lines = [[_paired(row, metric).get(seed, math.nan) for seed in seeds] for row in (control, *rows)]
    matrix = np.array(lines, float).reshape(1 + len(rows), len(seeds))
    return matrix[1:], matrix[0]


def _paired(row: "Row", metric: str) -> dict[int, float]:
    """Seed -> score of the cells that may stand beside the control's."""
    return {seed: score for seed, score in row.score(metric).items() if seed not in row.unlike}


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
