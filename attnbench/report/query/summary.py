"""The short table that a terminal shows after a sweep."""

from collections import Counter
from collections.abc import Iterable

from attnbench.records import Record
from attnbench.report.pages import leaderboard
from attnbench.report.pages.names import names
from attnbench.report.tables import notes
from attnbench.report.tables.columns import DELTA_PARAMS, LATENCY, MACS, NAME, SEEDS, STATUS, compared, score
from attnbench.report.tables.table import tables


def summary(found: Iterable[Record]) -> str:
    """The records' main columns in plain text, after a count of how the cells ended, and why some did not."""
    found = list(found)
    ends = Counter(r["status"].replace("_", " ") for r in found)
    counted = ", ".join(f"{n} {end}" for end, n in sorted(ends.items(), key=lambda e: (e[0] != "done", e)))
    parts = [f"{len(found)} cells" + (f": {counted}" if counted else "")]
    for table in names(tables(found)).values():
        metric = table.metric
        trained = [SEEDS, score(metric), compared(metric)] if metric else []
        written = [NAME, STATUS, *trained, DELTA_PARAMS, MACS, LATENCY]
        failed = [row for row in table.rows if len(row.done) < len(row.records)]
        stated = [
            f"{row.name}: {note}"
            for row in failed
            for note in notes.of_row(row, metric.key if metric else None)
        ]
        parts += [f"{table.title}\n{leaderboard.terminal(table.rows, written)}", *stated]
    return "\n\n".join(parts)
