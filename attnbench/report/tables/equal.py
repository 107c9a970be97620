"""Each row beside its control of equal cost: the backbone alone, as costly as with the mechanism."""

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

BY = "macs"
ORDER = ("wide", "deep")  # the first that a row has


def compare_equal(rows: Sequence["Row"], metric: str, floor: float, difference: float) -> None:
    """Give each row that has a control of equal cost its difference to it, paired by seed."""
    found = [(row, partner) for row in rows if (partner := control_of(row, rows)) is not None]
    if not found:
        return
    pairs = [(row.score(metric), partner.score(metric)) for row, partner in found]
    seeds = sorted({seed for mine, theirs in pairs for seed in (*mine, *theirs)})
    lines = [[mine.get(s, math.nan) - theirs.get(s, math.nan) for s in seeds] for mine, theirs in pairs]
    matrix = np.array(lines, float).reshape(len(found), len(seeds))
    for (row, _), effect in zip(found, each(effects(matrix, floor), difference)):
        row.equal = effect


def control_of(row: "Row", rows: Sequence["Row"]) -> "Row | None":
    """The row of the backbone as costly as with this row's mechanism, at the same site."""
    mine = _plain(_attention(row))
    fitting = [r for r in rows if r.mechanism in ORDER and r.site == row.site and _compared(r) == mine]
    return min(fitting, key=lambda r: ORDER.index(r.mechanism), default=None)


def _attention(row: "Row") -> dict[str, Any]:
    found = at(row.records[0], "config", "attn")
    return found if isinstance(found, dict) else {}


def _compared(row: "Row") -> dict[str, Any] | None:
    """The mechanism, with all its options, that a control is as costly as."""
    attn = _attention(row)
    if attn.get("by") != BY:
        return None
    try:
        return _plain(mechanisms.called(str(attn.get("of"))))
    except UserError:  # a mechanism that this version does not have
        return None


def _plain(attn: dict[str, Any]) -> dict[str, Any]:
    """As it stands in a record, which has lists for tuples."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in attn.items()}
