"""The questions that a leaderboard asks of each row, each column under a name of its own."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnbench.report.tables import equal, notes, verdicts
from attnbench.report.tables.latency import INFERENCE, TRAINING, Latency, of_row
from attnbench.report.tables.metrics import headline
from attnbench.report.tables.table import Remembering, Row
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
    """Mean and standard deviation over seeds of a metric of the test split, and over how many seeds."""

    def values(row: Row) -> tuple:
        found = list(row.score(metric.key).values())
        return (
            statistics.fmean(found) if found else None,
            float(np.std(found, ddof=1)) if len(found) > 1 else None,
            len(found),
            len(row.seeds),
        )

    def show(mean: float, sd: float | None, known: int, every: int) -> str:
        spread = "" if sd is None else f" ± {sd:.{metric.digits}f}"
        return f"{mean:.{metric.digits}f}{spread}" + few(known, every)

    stem = f"test_{metric.column}"
    named = f"{stem}_mean_{metric.unit}", f"{stem}_sd_{metric.unit}", f"{stem}_seeds", "seeds_recorded"
    return Column(named, metric.heading, values, show)


def few(known: int, every: int) -> str:
    """What a mean over fewer seeds than the row has is followed by: ` (3 of 5 seeds)`."""
    return "" if known == every else f" ({known} of {every} seeds)"


def _cost(key: str, heading: str, *path: str, scale: float = 1, digits: int = 4) -> Column:
    """A cost, in the unit of the heading (`scale` of the record's), with its change against the control."""

    def show(value: float, change: float | None) -> str:
        control = None if change is None else value - change
        return f"{value / scale:,.{digits}f}" + (
            f" ({percent(change / control)})" if change and control else ""
        )

    return Column((key, f"delta_{key}"), heading, lambda row: (row.middle(*path), row.change(*path)), show)


def whole(value: float) -> str:
    """Rounded to one, thousands set off by commas."""
    return f"{value:,.0f}"


def percent(share: float) -> str:
    """A relative change with two significant digits and its sign: `+2.4 %`."""
    size = abs(100 * share)
    text = "<0.001" if size < 0.001 else f"{size:.0f}" if size >= 10 else f"{size:.2g}"
    return f"{'-' if share < 0 else '+'}{text} %"


def delta(mean: float, low: float | None, high: float | None) -> str:
    """A difference with its interval, or the words that it has none.

    A round bracket stands at an end that only a later step of Holm's keeps from 0.
    """
    if low is None or high is None:
        return f"{mean:+.2f} (no interval)"
    left, right = "(" if low == 0.0 else "[", ")" if high == 0.0 else "]"
    return f"{mean:+.2f} {left}{low:+.2f}, {high:+.2f}{right}"


def probability(p: float) -> str:
    """Two significant digits, or `<0.001`."""
    return "<0.001" if p < 0.001 else f"{p:.2g}"


def _effect(*names: str) -> Callable[[Row], tuple]:
    return lambda row: tuple(row.effect and getattr(row.effect, name) for name in names)


def _seeds(row: Row) -> tuple:
    return len(row.done), row.effect and row.effect.pairs, " ".join(str(r["cell"]["seed"]) for r in row.done)


def _show_seeds(done: int, pairs: int | None, _: str) -> str:
    return str(done) if pairs in (None, done) else f"{done} ({pairs} paired)"


def _rank(row: Row) -> tuple:
    return row.rank or (None, None, None)


def _show_rank(place: int, low: int, high: int) -> str:
    return f"{place} [{low}–{high}]"


def _trained(row: Row) -> tuple:
    """How many seeds ended with a score that is not near chance, how many diverged, how many collapsed."""
    ended = len(row.done) + len(row.diverged)
    lost = len(row.diverged) + len(row.collapsed)
    return (ended - lost if ended else None), len(row.diverged), len(row.collapsed), ended


def _gained(row: Row) -> tuple:
    effect = row.effect
    return (effect.gained, effect.pairs) if effect and effect.pairs else (None, None)


def _verdict(row: Row) -> tuple:
    needed = (row.effect and row.effect.needed) or (None, None)
    return (verdicts.word(row), verdicts.verdict(row), *needed)


def latency(name: str, heading: str, part: str) -> Column:
    """Ratio to the control, combined over the seeds, with its interval and how good the measurement is."""

    def values(row: Row) -> tuple:
        found = row.once(("latency", part), lambda: of_row(row, part))
        if found is None:
            return (None,) * 10
        own = found.ratio, found.low, found.high, found.noise, found.ms, found.control_ms
        return (*own, found.kind, found.quality, found.used, found.every)

    kinds = "ratio", "low_ratio", "high_ratio", "noise_ratio", "ms", "control_ms"
    more = "clock", "quality", "measurements_used", "measurements"
    keys = tuple(f"{name}_{kind}" for kind in (*kinds, *more))
    return Column(keys, heading, values, lambda *values: str(Latency(*values)))


def _notes(row: Row) -> tuple:
    metric = headline(row.records[0]["cell"]["task"])
    return ("; ".join(notes.of_row(row, metric.key if metric else None)) or None,)


def compared(metric: Metric) -> Column:
    """The paired difference in the metric that the table's rows are compared by."""
    ends = "delta_points", "delta_low_points", "delta_high_points"
    return Column(
        (*ends, "delta_own_half_width_points", "delta_sd_points"),
        f"Δ {metric.name} vs. none (pp) [95 %]",
        _effect("mean", "low", "high", "half_width", "sd"),
        lambda mean, low, high, *_: delta(mean, low, high),
    )


def compared_equal(metric: Metric, by: str) -> Column:
    """The same against the backbone with as many multiply-adds or parameters and no attention."""
    names = ("mean", "low", "high", "p_holm", "pairs")

    def values(row: Row) -> tuple:
        effect = row.equal.get(by)
        return tuple(effect and getattr(effect, name) for name in names)

    keys = ("delta", "delta_low", "delta_high")
    return Column(
        (*(f"{key}_equal_{by}_points" for key in keys), f"p_holm_equal_{by}", f"seeds_equal_{by}"),
        f"Δ {metric.name} vs. {equal.BY[by]} (pp) [95 %]",
        values,
        lambda mean, low, high, *_: delta(mean, low, high),
    )


CATEGORY = Column(("category",), "category", lambda row: (row.category,), text=True)
MECHANISM = Column(
    ("attn", "mechanism"), "mechanism", lambda row: (row.attn, row.mechanism), lambda a, m: a, text=True
)
SITE = Column(("site",), "site", lambda row: (row.site,), text=True)
NAME = Column(("row",), "mechanism", lambda row: (row.name,), text=True)
STATUS = Column(("status",), "status", lambda row: (notes.status(row),), text=True)
SEEDS = Column(("seeds_done", "seeds_paired", "seeds"), "seeds", _seeds, _show_seeds)
HOLM = Column(("p_holm", "p"), "p (Holm)", _effect("p_holm", "p"), lambda holm, p: probability(holm))
RANK = Column(("rank", "rank_low", "rank_high"), "rank [95 %]", _rank, _show_rank)
TRAINED = Column(
    ("seeds_trained", "seeds_diverged", "seeds_collapsed", "seeds_ended"),
    "trained",
    _trained,
    lambda trained, diverged, collapsed, ended: f"{trained} of {ended}",
)
GAINED = Column(("seeds_gained", "seeds_compared"), "gained with", _gained, lambda n, k: f"{n} of {k} seeds")
WORD = Column(
    ("verdict", "verdict_sentence", "seeds_needed_low", "seeds_needed_high"),
    "verdict",
    _verdict,
    lambda word, *_: f"{verdicts.MARKS[word]} {word}",
    text=True,
)
SENTENCE = Column(("verdict_sentence",), "in words", lambda row: (verdicts.verdict(row),), text=True)
PARAMS = Column(("params",), "parameters ↓", lambda row: (row.middle("cost", "params"),), whole)
DELTA_PARAMS = Column(
    ("delta_params", "params_attention"),
    "Δ parameters ↓",
    lambda row: (row.change("cost", "params"), row.middle("cost", "params_attention")),
    lambda change, _: f"{change:+,.0f}",
)
MACS = _cost("macs", "GMACs ↓", "cost", "macs", scale=1e9)
MACS_FVCORE = Column(
    ("macs_fvcore", "elementwise_operations_fvcore", "activations_fvcore"),
    "",
    lambda row: tuple(
        row.middle("cost", f"{kind}_fvcore") for kind in ("macs", "elementwise", "activations")
    ),
)
ELEMENTWISE = _cost(
    "elementwise_operations", "element-wise ops (G) ↓", "cost", "elementwise", scale=1e9, digits=5
)
ACTIVATIONS = _cost("activations", "activations (M) ↓", "cost", "activations", scale=1e6, digits=3)
LATENCY = latency("latency", "latency (× none) ↓", INFERENCE)
TRAINING_STEP = latency("training_latency", "training step (× none) ↓", TRAINING)
MEMORY = _cost("peak_memory_bytes", "peak memory (MiB) ↓", "cost", "peak_memory_bytes", scale=2**20, digits=1)
MEMORY_TRAINING = _cost(
    "peak_memory_training_bytes",
    "peak memory, training (MiB) ↓",
    "cost",
    "peak_memory_training_bytes",
    scale=2**20,
    digits=1,
)
SEEN = Column(
    ("pixels_seen", "pixels"),
    "pixels seen ↓",
    lambda row: (row.middle("cost", "pixels_seen"), row.middle("cost", "pixels")),
    lambda seen, of: whole(seen) + ("" if of is None else f" of {whole(of)}"),
)
PARAMS_HEAD = _cost("params_head", "parameters of the head (M) ↓", "cost", "params_head", scale=1e6, digits=3)
MACS_HEAD = _cost("macs_head", "GMACs of the head ↓", "cost", "macs_head", scale=1e9)
REMARKS = Column(("notes",), "", _notes)
