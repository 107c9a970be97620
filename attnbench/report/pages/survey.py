"""One table a category: the survey's columns from our cards, then what we measured and what is published."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from attnbench import mechanisms
from attnbench.report.papers import accuracies, cards
from attnbench.report.statistics.paired import mean_interval
from attnbench.report.tables.columns import (
    GAINED,
    LATENCY,
    MISSING,
    SEEDS,
    TRAINING_STEP,
    WORD,
    Column,
    delta,
    few,
    percent,
)
from attnbench.report.tables.table import Remembering, Row, Table

NAMES = {
    "channel": "Channel attention",
    "spatial": "Spatial attention",
    "temporal": "Temporal attention",
    "branch": "Branch attention",
    "channel_spatial": "Channel and spatial attention",
    "spatial_temporal": "Spatial and temporal attention",
}


@dataclass
class Line(Remembering):
    """One mechanism of a category: its card, the rows that measured it, its best published figure."""

    entry: cards.Entry
    trained: tuple[Table, Row] | None = None
    costed: tuple[Table, Row] | None = None
    published: accuracies.Figure | None = None


def lines(category: str, found: Sequence[Table]) -> list[Line]:
    """The rows of a category's table, the survey's first."""
    own = [t for t in found if any(row.category == category for row in t.rows)]
    trained, every = [t for t in own if t.metric], own
    return [
        Line(
            entry,
            _widest(entry.mechanism, trained, category),
            _widest(entry.mechanism, every, category),
            accuracies.best(entry.mechanism),
        )
        for entry in cards.entries(category)
    ]


def _widest(mechanism: str, found: Sequence[Table], category: str) -> tuple[Table, Row] | None:
    """Where it was measured as its paper has it, in the table that has most of its category."""
    rows = [(t, r) for t in found for r in t.rows if r.mechanism == mechanism and r.done]
    if not rows:
        return None
    sites = mechanisms.entries()[mechanism].sites if mechanism in mechanisms.entries() else ()

    def fit(pair: tuple[Table, Row]) -> tuple:
        table, row = pair
        width = table.once(("width", category), lambda: _width(table, category))
        return (
            row.attn == mechanism,
            row.site in sites,
            not table.resized,
            width,
            len(row.done),
            table.title,
            table.fingerprint,
        )

    return max(rows, key=fit)


def _width(table: Table, category: str) -> int:
    """How many mechanisms of a category a table has."""
    return len({row.mechanism for row in table.rows if row.category == category and row.done})


def _card(name: str) -> Callable[[Line], tuple]:
    return lambda line: (line.entry.card.get(name) or line.entry.survey.get(name) or None,)


def _of_costed(work: Callable[[Row], tuple], nothing: int) -> Callable[[Line], tuple]:
    """What a row with costs answers; None that many times without one."""
    return lambda line: work(line.costed[1]) if line.costed else (None,) * nothing


def _of_trained(work: Callable[[Row], tuple], nothing: int) -> Callable[[Line], tuple]:
    return lambda line: work(line.trained[1]) if line.trained else (None,) * nothing


def _change(key: str, heading: str, *path: str, scale: float = 1, digits: int = 0) -> Column:
    def show(change: float, ratio: float | None) -> str:
        small = 0 < abs(change / scale) < 0.5 * 10**-digits
        text = f"<{10**-digits:.{digits}f}" if small else f"{change / scale:+,.{digits}f}"
        return text if ratio is None else f"{text} ({percent(ratio - 1)})"

    def work(row: Row) -> tuple:
        return row.change(*path), _ratio(row, *path)

    return Column((f"delta_{key}", f"{key}_ratio"), heading, _of_costed(work, 2), show)


def _ratio(row: Row, *path: str) -> float | None:
    value, change = row.middle(*path), row.change(*path)
    return None if value is None or change is None or value == change else value / (value - change)


def _memory(row: Row) -> tuple:
    return (_ratio(row, "cost", "peak_memory_bytes"),)


def _score(line: Line) -> tuple:
    """The headline of its task on the test split: name, mean and 95 % interval of the mean."""
    if line.trained is None or (metric := line.trained[0].metric) is None:
        return (None,) * 6
    row = line.trained[1]
    found = list(row.score(metric.key).values())
    counts = len(found), len(row.seeds)
    return (metric.name, *mean_interval(found), *counts) if found else (None,) * 6


def _show_score(name: str, mean: float, low: float | None, high: float | None, known: int, every: int) -> str:
    interval = " (no interval)" if low is None else f" [{low:.2f}, {high:.2f}]"
    return f"{name} {mean:.2f}{interval}{few(known, every)}"


def _measured(line: Line) -> tuple:
    """Where its accuracy and its costs were measured, or that they were not."""
    if not line.entry.card:
        return "not implemented", None, None
    tables = [pair[0].title if pair else None for pair in (line.trained, line.costed)]
    return ("not run" if tables == [None, None] else "run", *tables)


def _show_measured(state: str, trained: str | None, costed: str | None) -> str:
    if state != "run":
        return state
    return f"{trained or 'accuracy not run'}; costs: {'same' if costed == trained else costed}"


def _figure(line: Line) -> tuple:
    figure = line.published
    if figure is None:
        return (None,) * 8
    named = figure.metric, figure.backbone, figure.data, figure.source
    return (str(figure), figure.value, figure.control, figure.gain, *named)


def _delta(row: Row) -> tuple:
    effect = row.effect
    return (effect.mean, effect.low, effect.high) if effect else (None, None, None)


METHOD = Column(
    ("method", "attn"), "Method", lambda x: (x.entry.method, x.entry.mechanism), lambda m, a: m, True
)
CARD = [
    METHOD,
    Column(("publication",), "Publication", _card("publication"), text=True),
    Column(("tasks",), "Tasks", _card("tasks"), text=True),
    Column(("g",), "g(x)", _card("g"), text=True),
    Column(("range",), "Ranges", _card("range"), text=True),
    Column(("kind",), "S or H", _card("kind"), text=True),
    Column(("goals",), "Goals", _card("goals"), lambda goals: "".join(f"({n})" for n in goals.split()), True),
]
MEASURED = [
    METHOD,
    Column(("attn",), "attn", lambda line: (line.entry.mechanism,), text=True),
    Column(("measured", "accuracy_table", "cost_table"), "measured on", _measured, _show_measured, True),
    _change("params", "Δ parameters ↓", "cost", "params"),
    _change("macs", "Δ GMACs ↓", "cost", "macs", scale=1e9, digits=4),
    _change("elementwise_operations", "Δ element-wise ops (G) ↓", "cost", "elementwise", scale=1e9, digits=5),
    *(Column(c.keys, c.heading, _of_costed(c.of, len(c.keys)), c.show) for c in (LATENCY, TRAINING_STEP)),
    Column(
        ("peak_memory_ratio",), "peak memory (× none) ↓", _of_costed(_memory, 1), lambda ratio: f"{ratio:.3f}"
    ),
    Column(
        (
            "metric",
            "test_mean_percent",
            "test_low_percent",
            "test_high_percent",
            "test_seeds",
            "seeds_recorded",
        ),
        "test accuracy (%) ↑ [95 %]",
        _score,
        _show_score,
    ),
    Column(
        ("delta_points", "delta_low_points", "delta_high_points"),
        "Δ vs. none (pp) [95 %]",
        _of_trained(_delta, 3),
        delta,
    ),
    Column(SEEDS.keys, "seeds", _of_trained(SEEDS.of, 3), SEEDS.show),
    Column(GAINED.keys, "gained with", _of_trained(GAINED.of, 2), GAINED.show),
    Column(WORD.keys, "verdict", _of_trained(WORD.of, 4), WORD.show, text=True),
]
PUBLISHED_KEYS = (
    *("published", "published_value", "published_control", "published_gain_points"),
    *("published_metric", "published_backbone", "published_data", "published_source"),
)
PUBLISHED = [
    METHOD,
    Column(
        PUBLISHED_KEYS,
        "best published figure, with the gain to its own table's control",
        _figure,
        lambda text, *_: text,
        text=True,
    ),
]


def parts(category: str, found: Sequence[Table]) -> dict[str, tuple[Sequence[Remembering], list[Column]]]:
    """Heading -> rows and columns of a category's page."""
    rows = lines(category, found)
    return {
        "As the survey has it": (rows, CARD),
        "Measured": (rows, MEASURED),
        "Published": (rows, PUBLISHED),
    }


def legend(category: str) -> str:
    """The goals behind the numerals, those that only our cards name in a sentence of their own."""
    written = cards.legend(category)
    of_survey = "; ".join(f"({numeral}) {goal}" for numeral, goal, known in written if known)
    own = "; ".join(f"({numeral}) {goal}" for numeral, goal, known in written if not known)
    texts = [f"Goals: {of_survey}." if of_survey else "The survey defines no goals here."]
    if own:
        texts.append(f"Named by our cards alone: {own}.")
    return " ".join([*texts, "S soft, H hard."])


def differences(category: str) -> list[str]:
    """Each cell in which a card says something else than the survey's table, with the reason."""
    reasons = cards.exceptions()
    return [
        f"{entry.method}, {column}: the survey has “{entry.survey[column]}”, the card "
        f"“{entry.card[column] or MISSING}”: {reasons.get((entry.mechanism, column), 'no reason is known')}"
        for entry in cards.entries(category)
        for column in entry.differing
    ]
