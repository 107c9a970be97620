"""One comparison in full: rows, verdicts, every seed, the asked ones against each other, what is missing."""

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

from tabulate import tabulate

from attnbench.report.files import points
from attnbench.report.pages.leaderboard import terminal
from attnbench.report.query import missing, selection
from attnbench.report.query.commands import Compose
from attnbench.report.query.store import Store, fitting, read
from attnbench.report.statistics.paired import effects
from attnbench.report.tables import notes, verdicts
from attnbench.report.tables.columns import (
    DELTA_PARAMS,
    GAINED,
    HOLM,
    LATENCY,
    MACS,
    NAME,
    SEEDS,
    STATUS,
    Column,
    compared,
    delta,
    probability,
    score,
)
from attnbench.report.tables.conditions import conditions
from attnbench.report.tables.equal import differences
from attnbench.report.tables.sections import COUNTED, MEASURED
from attnbench.report.tables.table import CONTROL, Row, Table


def compare(words: Sequence[str], compose: Compose) -> Iterator[str]:
    """The answer to `compare attn=se,eca backbone=resnet20 data=cifar10`, paragraph by paragraph.

    `compose` makes the configuration that words ask for, to name the cells that are missing.
    """
    asked = selection.parse(words, takes=("difference",))
    store = read(asked, points(asked.rest.get("difference")))
    found = fitting(store.tables, asked)
    if not found:
        yield from _nothing(asked, store, compose)
        return
    for table in found:
        yield from _comparison(table, asked, store, compose)


def _nothing(asked: selection.Selection, store: Store, compose: Compose) -> Iterator[str]:
    """What to run where no table is what was asked for."""
    written = ", ".join(f"{key}={','.join(values)}" for key, values in asked.asked.items())
    yield f"No record answers {written or 'this'}. There are: {'; '.join(store.titles)}."
    yield "\n".join(missing.unknown_table(asked, asked.asked.get("attn", []), store, compose))


def _comparison(table: Table, asked: selection.Selection, store: Store, compose: Compose) -> Iterator[str]:
    rows = [row for row in table.rows if row.attn != CONTROL and asked.row(row)]
    shown = ([table.control] if table.control else []) + rows
    yield f"# {table.title}"
    if not rows:
        yield "None of its rows is one that was asked for."
    else:
        yield terminal(shown, _columns(table))
        if table.metric:
            yield "\n".join(f"{row.name}: {_sentence(row)}" for row in rows)
            yield _by_seed(shown, table.metric.key, table.metric.digits)
        if table.metric and len(rows) > 1:
            yield _against_each_other(rows, table.metric.key, table.floor)
    key = table.metric.key if table.metric else None
    written = [f"{row.name}: {note}" for row in shown for note in notes.of_row(row, key)]
    yield "\n".join([*written, *(f"{name}: {text}" for name, text in conditions(table))])
    yield "\n".join(_missing(table, rows, asked, store, compose))


def _columns(table: Table) -> list[Column]:
    if table.metric is None:
        return [NAME, STATUS, *COUNTED, *MEASURED]
    judged = [SEEDS, score(table.metric), compared(table.metric), HOLM, GAINED]
    return [NAME, *judged, DELTA_PARAMS, MACS, LATENCY]


def _sentence(row: Row) -> str:
    return verdicts.verdict(row) or "no seed of it has a control"


def _by_seed(shown: list[Row], metric: str, digits: int) -> str:
    """A line a seed: what each row scored, and its difference to the control."""
    scores = [row.score(metric) for row in shown]
    control = next((s for row, s in zip(shown, scores) if row.attn == CONTROL), {})
    lines = []
    for seed in sorted({seed for found in scores for seed in found}):
        line = [str(seed)]
        for row, found in zip(shown, scores):
            value, baseline = found.get(seed), control.get(seed)
            text = "—" if value is None else f"{value:.{digits}f}"
            paired = row.attn != CONTROL and value is not None and baseline is not None
            line.append(f"{text} ({value - baseline:+.{digits}f})" if paired else text)  # type: ignore[operator]
        lines.append(line)
    return tabulate(lines, ["seed", *(row.name for row in shown)], "simple", disable_numparse=True)


def _against_each_other(rows: list[Row], metric: str, floor: float) -> str:
    """Each two of the rows, paired by seed; intervals hold together, and p is corrected, over these pairs."""
    pairs = list(combinations(rows, 2))
    found = effects(differences(pairs, metric), floor)
    lines = ["Against each other:"]
    for n, (one, other) in enumerate(pairs):
        if not found.pairs[n]:
            lines.append(f"  {one.name} - {other.name}: no common seed")
            continue
        low, high = (None if math.isnan(v[n]) else float(v[n]) for v in (found.low, found.high))
        p = "" if math.isnan(found.p_holm[n]) else f", p (Holm) {probability(found.p_holm[n])}"
        text = delta(float(found.mean[n]), low, high)
        lines.append(f"  {one.name} - {other.name}: {text} points, {found.pairs[n]} seeds{p}")
    return "\n".join(lines)


def _missing(
    table: Table, rows: list[Row], asked: selection.Selection, store: Store, compose: Compose
) -> list[str]:
    """What is missing for a verdict."""
    if table.metric is None:
        return []
    there = {name for row in rows for name in (row.attn, row.mechanism)}
    others = [name for name in asked.asked.get("attn", []) if name not in there and name != CONTROL]
    wanted = [*missing.of_table(table, asked.row), *missing.new(others, store, asked)]
    return missing.missing(table, wanted, store, compose)
