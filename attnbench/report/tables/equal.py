"""Each row beside its controls of equal cost: the backbone alone, as costly as with the mechanism."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attnbench import mechanisms
from attnbench.errors import UserError
from attnbench.report.load import at
from attnbench.report.statistics.paired import effects
from attnbench.report.tables.effects import each

if TYPE_CHECKING:
    from attnbench.report.tables.table import Row

BY = {"macs": "equal MACs", "params": "equal parameters"}  # a control's option -> what a column calls it
ORDER = ("wide", "deep")  # the first that a row has


def compare_equal(rows: Sequence["Row"], metric: str, floor: float, difference: float) -> None:
    """Give each row that has controls of equal cost its differences to them, paired by seed."""
    for by in BY:
        found = [(row, partner) for row in rows if (partner := control_of(row, rows, by)) is not None]
        if not found:
            continue
        matrix = differences(found, metric)
        for (row, _), effect in zip(found, each(effects(matrix, floor), difference)):
            row.equal[by] = effect


def differences(pairs: Sequence[tuple["Row", "Row"]], metric: str) -> np.ndarray:
    """Of each first row to its second one, (pairs, seeds); NaN where either has none or trained otherwise."""
    scores = [(one.score(metric, beside=other), other.score(metric)) for one, other in pairs]
    seeds = sorted({seed for mine, theirs in scores for seed in (*mine, *theirs)})
    lines = [[mine.get(s, math.nan) - theirs.get(s, math.nan) for s in seeds] for mine, theirs in scores]
    return np.array(lines, float).reshape(len(pairs), len(seeds))


def control_of(row: "Row", rows: Sequence["Row"], by: str) -> "Row | None":
    """The row of the backbone as costly as with this row's mechanism, at the same site."""
    mine = _plain(_attention(row))
    fitting = [r for r in rows if r.mechanism in ORDER and r.site == row.site and _compared(r, by) == mine]
    return min(fitting, key=lambda r: ORDER.index(r.mechanism), default=None)


def _attention(row: "Row") -> dict[str, Any]:
    found = at(row.records[0], "config", "attn")
    return found if isinstance(found, dict) else {}


def _compared(row: "Row", by: str) -> dict[str, Any] | None:
    """The mechanism, with all its options, that a control is as costly as."""
    attn = _attention(row)
    if attn.get("by") != by:
        return None
    try:
        return _plain(mechanisms.called(str(attn.get("of"))))
    except UserError:  # a mechanism that this version does not have
        return None


def _plain(attn: dict[str, Any]) -> dict[str, Any]:
    """As it stands in a record, which has lists for tuples."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in attn.items()}
