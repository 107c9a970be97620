"""What a reader must know beside the numbers: failures, missing twins, replaced records."""

from collections import defaultdict
from typing import Any

from attnbench.report.load import at, distinct
from attnbench.report.tables.table import CONTROL, Row, Table


def of_table(table: Table) -> list[str]:
    """The notes of all rows, each under its row's name, after those that concern the whole table."""
    lines = []
    if not any(row.attn == CONTROL for row in table.rows):
        lines.append("There is no control here: run the same cells with `attn=none` to see differences.")
    if table.freedom:
        lines.append(
            f"Intervals: t with {table.freedom:.1f} degrees of freedom on a standard deviation of "
            f"{table.deviation:.2f} points for one paired difference, pooled over the rows."
        )
    metric = table.metric.key if table.metric else None
    return lines + [f"`{row.name}`: {note}." for row in table.rows for note in of_row(row, metric)]


def of_row(row: Row, metric: str | None) -> list[str]:
    """What happened to its cells, and which of them its numbers stand for."""
    said: dict[str, list[int]] = defaultdict(list)
    for record in row.records:
        for note in _of_record(record):
            said[note].append(record["cell"]["seed"])
    for seed, older in row.replaced.items():
        said[f"the newest of {older + 1} records"].append(seed)
    if metric and row.control:
        alone = sorted(row.score(metric).keys() - row.control.score(metric).keys())
        said["no control with that seed, so no difference"] = alone
    every = [r["cell"]["seed"] for r in row.records]
    lines = [f"{_named(seeds, every)}: {what}" for what, seeds in said.items() if seeds]
    if len(distinct(row.records, "digest")) > 1:
        lines.append("its seeds ran different versions of the mechanism's code")
    return lines


def status(row: Row) -> str:
    """How its cells ended, by count: `done`, `2 done, 1 diverged`."""
    ends = [r["status"].replace("_", " ") for r in row.records]
    kinds = sorted(set(ends), key=lambda end: (end != "done", end))
    return kinds[0] if len(kinds) == 1 else ", ".join(f"{ends.count(kind)} {kind}" for kind in kinds)


def _of_record(record: dict[str, Any]) -> list[str]:
    said = []
    if record["status"] != "done":
        reason = str(record.get("reason") or "no reason was recorded").rstrip(".")
        said.append(f"{record['status'].replace('_', ' ')}: {reason}")
    if uncounted := at(record, "cost", "uncounted"):
        names = uncounted if isinstance(uncounted, list) else [uncounted]
        said.append(f"its counts leave out {', '.join(map(str, names))}, for which there is no rule")
    for figure, why in (at(record, "cost", "unmeasured") or {}).items():
        said.append(f"{figure} could not be measured: {why}")
    return said


def _named(seeds: list[int], every: list[int]) -> str:
    if len(every) > 1 and seeds == every:
        return "all seeds"
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
