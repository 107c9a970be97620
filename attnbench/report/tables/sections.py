"""Which columns a leaderboard has, in sections that fit a page: the verdict first, the rest behind it."""

from attnbench.report.tables import equal
from attnbench.report.tables.columns import (
    ACTIVATIONS,
    CATEGORY,
    DELTA_PARAMS,
    ELEMENTWISE,
    GAINED,
    HOLM,
    LATENCY,
    MACS,
    MACS_FVCORE,
    MACS_HEAD,
    MECHANISM,
    MEMORY,
    MEMORY_TRAINING,
    NAME,
    PARAMS,
    PARAMS_HEAD,
    RANK,
    REMARKS,
    SEEDS,
    SEEN,
    SENTENCE,
    SITE,
    STATUS,
    TRAINED,
    TRAINING_STEP,
    WORD,
    Column,
    compared,
    compared_equal,
    score,
)
from attnbench.report.tables.metrics import class_ious
from attnbench.report.tables.table import Table

COUNTED = [PARAMS, DELTA_PARAMS, MACS, ELEMENTWISE, ACTIVATIONS, SEEN, PARAMS_HEAD, MACS_HEAD]
MEASURED = [LATENCY, TRAINING_STEP, MEMORY, MEMORY_TRAINING]
SOMETIMES = (  # columns that only some tasks or experiments fill, by what their first key begins with
    *(column.keys[0] for column in (SEEN, PARAMS_HEAD, MACS_HEAD, TRAINING_STEP, MEMORY_TRAINING, STATUS)),
    *("test_boundary_f1", *(f"delta_equal_{by}_points" for by in equal.BY)),
)


def sections(table: Table) -> dict[str, list[Column]]:
    """Heading of each part of a leaderboard -> its columns; none for a task that is not known.

    What no record of the table has, of a part or of a column that only some tasks fill, is left out.
    """
    return table.once("sections", lambda: _sections(table))


def _sections(table: Table) -> dict[str, list[Column]]:
    counted, measured = [NAME, *COUNTED], [NAME, *MEASURED]
    costs = {"Cost": _filled(table, counted), "Speed and memory": _filled(table, measured)}
    if not table.trains:
        return {
            "Cost": _filled(table, [NAME, STATUS, *COUNTED]),
            "Speed and memory": costs["Speed and memory"],
        }
    if table.metric is None:
        return {}
    first, *others = map(score, table.metrics)
    found = {
        "Verdicts": _filled(
            table,
            [
                *(NAME, WORD, compared(table.metric)),
                *(compared_equal(table.metric, by) for by in equal.BY),
                *(first, GAINED, RANK, LATENCY),
            ],
        ),
        "Evidence": [NAME, SEEDS, TRAINED, HOLM, SENTENCE],
        "Accuracy": _filled(table, [NAME, STATUS, first, *others]),
        **costs,
    }
    if classes := class_ious(table.records):
        found["Classes"] = [NAME, *(score(m.at(table.resized)) for m in classes)]
    return found


def of_csv(table: Table) -> list[Column]:
    """All columns of a table's CSV: who it is, then everything that its sections ask."""
    asked = [column for part in sections(table).values() for column in part if column is not NAME]
    return list(
        {c.keys: c for c in (CATEGORY, MECHANISM, SITE, STATUS, *asked, MACS_FVCORE, REMARKS)}.values()
    )


def _filled(table: Table, columns: list[Column]) -> list[Column]:
    """Without the columns that only some tasks or experiments fill, where no row of the table has them."""
    return [c for c in columns if not c.keys[0].startswith(SOMETIMES) or _is_filled(table, c)]


def _is_filled(table: Table, column: Column) -> bool:
    found = [column.of(row)[0] for row in table.rows]
    if column is STATUS:  # says something only where a cell did not end as the others
        return set(found) != {"done"}
    return any(value not in (None, "") for value in found)


def question(table: Table) -> str:
    """What a leaderboard answers."""
    if table.metric is None:
        return f"What does each attention cost in {table.backbone} at {table.side or '?'}?"
    return (
        f"Which attention raises the test {table.metric.name} of {table.backbone} on {table.data}, "
        "and at what cost?"
    )
