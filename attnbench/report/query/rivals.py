"""Which rows cannot be distinguished from another one by the seeds that both have."""

from collections.abc import Sequence

from attnbench.report.statistics.paired import effects
from attnbench.report.tables.equal import differences
from attnbench.report.tables.table import Row, Table


def rivals(row: Row, others: Sequence[Row], table: Table) -> list[Row]:
    """Those of the others that are not shown to differ from the row, Holm's correction over all of them."""
    rest = [other for other in others if other is not row and other.effect and other.effect.pairs]
    if not rest or table.metric is None:
        return []
    found = effects(differences([(row, other) for other in rest], table.metric.key), table.floor)
    return [other for other, p in zip(rest, found.p_holm) if not p < 0.05]
