"""The questions that a leaderboard asks of each row; a new column is one line in a list below."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnbench.report.load import number
from attnbench.report.statistics.paired import RANKED_FROM
from attnbench.report.tables import notes, verdicts
from attnbench.report.tables.metrics import class_ious, headline, of_task
from attnbench.report.tables.table import CONTROL, Remembering, Row, Table
from attnbench.tasks import Metric

MISSING = "—"


@dataclass(frozen=True)
class Column:
    """One question: the numbers that answer it, their names in CSV, and how a reader sees them."""

    keys: tuple[str, ...]  # one a value
    heading: str  # with unit and the better direction; empty: in CSV only
    values: Callable[[Any], tuple]  # of a row; None where it was not measured
    show: Callable[..., str] = str  # of the values, called when the first of them is there
    text: bool = False  # left-aligned

    def of(self, row: Remembering) -> tuple:
        """The values, worked out once a row."""
        return row.once(self.keys, lambda: self.values(row))

    def cell(self, row: Remembering) -> str:
        """What Markdown prints: a dash where nothing was measured."""
        values = self.of(row)
        return MISSING if values[0] in (None, "") else self.show(*values)


def score(metric: Metric) -> Column:
    """Mean and standard deviation over seeds of a metric of the test split."""

    def values(row: Row) -> tuple:
        found = list(row.score(metric.key).values())
        return (
            statistics.fmean(found) if found else None,
            float(np.std(found, ddof=1)) if len(found) > 1 else None,
        )

    def show(mean: float, deviation: float | None) -> str:
        return f"{mean:.{metric.digits}f}" + (
            "" if deviation is None else f" ± {deviation:.{metric.digits}f}"
        )

    named = f"test_{metric.key}_mean_{metric.unit}", f"test_{metric.key}_sd_{metric.unit}"
    return Column(named, metric.heading, values, show)


def _cost(key: str, heading: str, *path: str, scale: float = 1, digits: int = 4) -> Column:
    """A cost, in the unit of the heading (`scale` of the record's), with its change against the control."""

    def show(value: float, change: float | None) -> str:
        control = None if change is None else value - change
        return f"{value / scale:,.{digits}f}" + (
            f" ({percent(change / control)})" if change and control else ""
        )

    return Column((key, f"delta_{key}"), heading, lambda row: (row.middle(*path), row.change(*path)), show)


def _of_finished(key: str, heading: str, *path: str) -> Column:
    """What says something only of cells that were brought to their end."""
    return Column((key,), heading, lambda row: (row.finished.middle(*path),), whole)


def whole(value: float) -> str:
    """Rounded to one, thousands apart."""
    return f"{value:,.0f}"


def percent(share: float) -> str:
    """A relative change with two significant digits and its sign: `+2.4 %`."""
    size = abs(100 * share)
    text = "<0.001" if size < 0.001 else f"{size:.0f}" if size >= 10 else f"{size:.2g}"
    return f"{'-' if share < 0 else '+'}{text} %"


def delta(mean: float, low: float | None, high: float | None) -> str:
    """A difference with its interval, or the words that it has none."""
    return f"{mean:+.2f}" + (" (no interval)" if low is None else f" [{low:+.2f}, {high:+.2f}]")


def probability(p: float) -> str:
    """Two significant digits, or `<0.001`."""
    return "<0.001" if p < 0.001 else f"{p:.2g}"


def _effect(*names: str) -> Callable[[Row], tuple]:
    return lambda row: tuple(row.effect and getattr(row.effect, name) for name in names)


def _seeds(row: Row) -> tuple:
    return len(row.done), row.effect and row.effect.pairs, " ".join(str(r["cell"]["seed"]) for r in row.done)


def _show_seeds(done: int, pairs: int | None, _: str) -> str:
    return str(done) if pairs in (None, done) else f"{done} ({pairs} paired)"


def _label(row: Row) -> tuple:
    """How far its difference may be trusted, and its place where that is far enough."""
    if row.attn == CONTROL:
        return "control", None
    if row.effect is None or not row.effect.pairs:
        return None, None
    return "ranked" if row.effect.pairs >= RANKED_FROM else "exploratory", row.effect.rank


def latency(name: str, heading: str, part: str) -> Column:
    """Ratio to the control in the same process, its interval, the noise of the control against itself."""
    asked = ("ratio", "ratio_low", "ratio_high", "noise", "median_ms", "control_ms")

    def values(row: Row) -> tuple:
        record = row.typical("cost", part, "ratio")
        return tuple(record and number(record, "cost", part, key) for key in asked)

    kinds = ("ratio", "low_ratio", "high_ratio", "noise_ratio", "ms", "control_ms")
    return Column(tuple(f"{name}_{kind}" for kind in kinds), heading, values, _show_latency)


def _show_latency(ratio: float, low: float | None, high: float | None, noise: float | None, *_: float) -> str:
    if noise is not None and abs(ratio - 1) <= noise:
        return "≈"
    return f"{ratio:.2f}" + ("" if low is None or high is None else f" [{low:.2f}, {high:.2f}]")


def _metric(row: Row) -> Metric | None:
    return headline(row.records[0]["cell"]["task"])


def _notes(row: Row) -> tuple:
    metric = _metric(row)
    return ("; ".join(notes.of_row(row, metric.key if metric else None)) or None,)


def compared(metric: Metric) -> Column:
    """The paired difference in the metric that the table's rows are compared by."""
    return Column(
        ("delta_points", "delta_low_points", "delta_high_points"),
        f"Δ {metric.name} to none (points) ↑ [95 %]",
        _effect("mean", "low", "high"),
        delta,
    )


WHO = [
    Column(("category",), "category", lambda row: (row.category,), text=True),
    Column(
        ("attn", "mechanism"), "mechanism", lambda row: (row.attn, row.mechanism), lambda a, m: a, text=True
    ),
    Column(("site",), "site", lambda row: (row.site,), text=True),
]
ENDS = [Column(("status",), "status", lambda row: (notes.status(row),), text=True)]
SEEDS = Column(("seeds_done", "seeds_paired", "seeds"), "seeds", _seeds, _show_seeds)
HOLM = Column(("p_holm", "p"), "p (Holm)", _effect("p_holm", "p"), lambda holm, p: probability(holm))
RANK = Column(("label", "rank"), "rank", _label, lambda label, rank: str(rank or label), text=True)
COST = [
    Column(("params",), "parameters ↓", lambda row: (row.middle("cost", "params"),), whole),
    Column(
        ("delta_params", "params_attention"),
        "Δ parameters ↓",
        lambda row: (row.change("cost", "params"), row.middle("cost", "params_attention")),
        lambda change, _: f"{change:+,.0f}",
    ),
    _cost("macs", "GMACs ↓", "cost", "macs", scale=1e9),
    _cost("elementwise_operations", "Gelem ↓", "cost", "elementwise", scale=1e9, digits=5),
    _cost("activations", "Mact ↓", "cost", "activations", scale=1e6, digits=3),
    latency("latency", "latency (ratio to none) ↓", "latency"),
    latency("training_latency", "training step (ratio to none) ↓", "latency_training"),
    _cost("peak_memory_bytes", "peak memory (MiB) ↓", "cost", "peak_memory_bytes", scale=2**20, digits=1),
    _cost(
        "peak_memory_training_bytes",
        "peak memory, training (MiB) ↓",
        "cost",
        "peak_memory_training_bytes",
        scale=2**20,
        digits=1,
    ),
]
SEEN = Column(
    ("pixels_seen", "pixels"),
    "pixels seen ↓",
    lambda row: (row.middle("cost", "pixels_seen"), row.middle("cost", "pixels")),
    lambda seen, of: whole(seen) + ("" if of is None else f" of {whole(of)}"),
)
HEAD = [
    _cost("params_head", "parameters of the head (M) ↓", "cost", "params_head", scale=1e6, digits=3),
    _cost("macs_head", "GMACs of the head ↓", "cost", "macs_head", scale=1e9),
]
SPEED = [
    _of_finished("train_images_per_s", "training (images/s) ↑", "provenance", "images_per_s"),
    _of_finished("wall_s", "wall time (s) ↓", "provenance", "wall_s"),
]
REMARKS = [Column(("notes",), "", _notes)]

VERDICT = [
    Column(
        ("probability_of_improvement",),
        "P(one more seed gains)",
        _effect("probability"),
        lambda p: f"{p:.2f}",
    ),
    Column(
        ("verdict", "seeds_needed"),
        "verdict",
        lambda row: (verdicts.verdict(row), row.effect and row.effect.needed),
        lambda verdict, _: verdict,
        text=True,
    ),
]


def sections(table: Table) -> dict[str, list[Column]]:
    """Heading of each part of a leaderboard -> its columns; none for a task that is not known.

    What no record of the table has, of a part or of a column that only some tasks fill, is left out.
    """
    return table.once("sections", lambda: _sections(table))


def _sections(table: Table) -> dict[str, list[Column]]:
    if not table.trains:
        return {"Cost": _filled(table, [*WHO, *ENDS, *COST, SEEN, *HEAD])}
    if table.metric is None:
        return {}
    first, *others = (score(m) for m in of_task(table.task))
    accuracy = [*WHO, *ENDS, SEEDS, first, compared(table.metric), HOLM, RANK, *others]
    found = {
        "Accuracy": _filled(table, accuracy),
        "Verdicts": [*WHO[1:], compared(table.metric), HOLM, *VERDICT, *COST[1:3], COST[5]],
        "Cost": _filled(table, [*WHO, *COST, SEEN, *HEAD, *SPEED]),
    }
    if classes := class_ious(table.records):
        found["Classes"] = [*WHO, *(score(m) for m in classes)]
    return found


def _filled(table: Table, columns: list[Column]) -> list[Column]:
    """Without the columns that only some tasks or experiments fill, where no row of the table has them."""
    return [c for c in columns if c.keys[0] not in SOMETIMES or any(c.of(r)[0] for r in table.rows)]


SOMETIMES = (
    "training_latency_ratio",
    "peak_memory_training_bytes",
    "params_head",
    "macs_head",
    "pixels_seen",
    "test_boundary_f1_mean_percent",
)


def question(table: Table) -> str:
    """What a leaderboard answers."""
    if table.metric is None:
        return f"What does each attention cost in {table.backbone} at {table.side or '?'}?"
    return (
        f"Which attention raises the test {table.metric.name} of {table.backbone} on {table.data}, "
        "and at what cost?"
    )
