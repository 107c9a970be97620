"""The questions that a leaderboard asks of each row; a new column is one line in a list below."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from attnbench.report import notes
from attnbench.report.load import number
from attnbench.report.rows import CONTROL, METRIC, Row
from attnbench.report.statistics import RANKED_FROM

MISSING = "—"


@dataclass(frozen=True)
class Column:
    """One question: the numbers that answer it, their names in CSV, and how a reader sees them."""

    keys: tuple[str, ...]  # one a value
    heading: str  # with unit and the better direction; empty: in CSV only
    values: Callable[[Row], tuple]  # None where it was not measured
    show: Callable[..., str] = str  # of the values, called when the first of them is there
    text: bool = False  # left-aligned

    def cell(self, row: Row) -> str:
        """What Markdown prints: a dash where nothing was measured."""
        values = self.values(row)
        return MISSING if values[0] in (None, "") else self.show(*values)


def _score(metric: str, heading: str, digits: int) -> Column:
    """Mean and standard deviation over seeds of a metric of the test split."""

    def values(row: Row) -> tuple:
        found = list(row.score(metric).values())
        return (
            statistics.fmean(found) if found else None,
            statistics.stdev(found) if len(found) > 1 else None,
        )

    def show(mean: float, deviation: float | None) -> str:
        return f"{mean:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")

    return Column((f"test_{metric}_mean", f"test_{metric}_sd"), heading, values, show)


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


def _latency(row: Row) -> tuple:
    """Ratio to the control in the same process, its interval, the noise of the control against itself."""
    record = row.typical("cost", "latency", "ratio")
    names = ("ratio", "ratio_low", "ratio_high", "noise", "median_ms", "control_ms")
    return tuple(record and number(record, "cost", "latency", name) for name in names)


def _show_latency(ratio: float, low: float | None, high: float | None, noise: float | None, *_: float) -> str:
    if noise is not None and abs(ratio - 1) <= noise:
        return "≈"
    return f"{ratio:.2f}" + ("" if low is None or high is None else f" [{low:.2f}, {high:.2f}]")


def _notes(row: Row) -> tuple:
    metric = METRIC.get(row.records[0]["cell"]["task"])
    return ("; ".join(notes.of_row(row, metric)) or None,)


WHO = [
    Column(("category",), "category", lambda row: (row.category,), text=True),
    Column(
        ("attn", "mechanism"), "mechanism", lambda row: (row.attn, row.mechanism), lambda a, m: a, text=True
    ),
    Column(("site",), "site", lambda row: (row.site,), text=True),
]
ENDS = [Column(("status",), "status", lambda row: (notes.status(row),), text=True)]
ACCURACY = [
    Column(("seeds_done", "seeds_paired", "seeds"), "seeds", _seeds, _show_seeds),
    _score("top1", "test top-1 (%) ↑", 2),
    Column(
        ("delta_top1", "delta_low", "delta_high"),
        "Δ top-1 to none (points) ↑ [95 %]",
        _effect("mean", "low", "high"),
        delta,
    ),
    Column(("p_holm", "p"), "p (Holm)", _effect("p_holm", "p"), lambda holm, p: probability(holm)),
    Column(("label", "rank"), "rank", _label, lambda label, rank: str(rank or label), text=True),
    _score("top5", "test top-5 (%) ↑", 2),
    _score("nll", "test NLL (nats) ↓", 4),
    _score("ece", "test ECE (%) ↓", 2),
]
COST = [
    Column(("params",), "parameters ↓", lambda row: (row.middle("cost", "params"),), whole),
    Column(
        ("delta_params", "params_attention"),
        "Δ parameters ↓",
        lambda row: (row.change("cost", "params"), row.middle("cost", "params_attention")),
        lambda change, _: f"{change:+,.0f}",
    ),
    _cost("macs", "GMACs ↓", "cost", "macs", scale=1e9),
    _cost("elementwise", "Gelem ↓", "cost", "elementwise", scale=1e9, digits=5),
    _cost("activations", "Mact ↓", "cost", "activations", scale=1e6, digits=3),
    Column(
        ("latency_ratio", "latency_low", "latency_high", "latency_noise", "latency_ms", "latency_control_ms"),
        "latency (ratio to none) ↓",
        _latency,
        _show_latency,
    ),
    _cost("peak_memory_bytes", "peak memory (MiB) ↓", "cost", "peak_memory_bytes", scale=2**20, digits=1),
]
SPEED = [
    _of_finished("train_images_per_s", "training (images/s) ↑", "provenance", "images_per_s"),
    _of_finished("wall_s", "wall time (s) ↓", "provenance", "wall_s"),
]
REMARKS = [Column(("notes",), "", _notes)]

LEADERBOARDS: dict[str, dict[str, list[Column]]] = {  # task -> heading of a section -> its columns
    "cls": {"Accuracy": [*WHO, *ENDS, *ACCURACY], "Cost": [*WHO, *COST, *SPEED]},
    "profile": {"Cost": [*WHO, *ENDS, *COST]},
}
QUESTIONS = {
    "cls": "Which attention raises the test top-1 of {backbone} on {data}, and at what cost?",
    "profile": "What does each attention cost in {backbone} at {input}?",
}
