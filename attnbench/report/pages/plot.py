"""One picture a leaderboard: accuracy against cost relative to the control, with the Pareto frontier."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attnbench.report.pages import figure
from attnbench.report.pages.leaderboard import clean
from attnbench.report.tables import latency
from attnbench.report.tables.table import CONTROL, Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 3.6, 3.9  # inches of a panel
LEAST_SPAN = 1.10  # from the least to the largest cost of an axis
MARK = 4.0  # pixels from the middle of a mark to its edge
MOST_NAMES = 14  # points that all get their names; of more only those on the frontier

Span = tuple[float, float, float]  # a ratio to the control, and the ends of its interval
Cost = Callable[[Row], Span | None]


def _counted(*path: str) -> Cost:
    def ratio(row: Row) -> Span | None:
        value, control = row.middle(*path), (row.control or row).middle(*path)
        return (value / control,) * 3 if value and control else None

    return ratio


def _latency(row: Row) -> Span | None:
    found = latency.of_row(row)
    if found is None or (not found.known and found.kind == "clock"):
        return None
    if row.attn == CONTROL:
        return 1.0, 1.0, 1.0
    return found.ratio, found.low or found.ratio, found.high or found.ratio


AXES: list[tuple[str, Cost]] = [
    ("GMACs (× none)", _counted("cost", "macs")),
    ("latency (× none)", _latency),
    ("parameters (× none)", _counted("cost", "params")),
]


@dataclass(frozen=True)
class Point:
    """One row: its cost relative to the control's, its accuracy, and the ends of both intervals."""

    row: Row
    cost: float
    cost_low: float
    cost_high: float
    score: float
    low: float
    high: float


def picture(table: Table) -> "Figure | None":
    """A panel for each cost; None where fewer than two rows have a difference and a cost.

    A point's height is the control's mean plus the row's paired difference, its bar that difference's
    interval; further left and up is better, and the steps join what nothing beats in both.
    """
    panels = [(name, found) for name, cost in AXES if len(found := points(table, cost)) > 2]
    if not panels or table.metric is None:
        return None
    from matplotlib.figure import Figure

    with figure.style():
        drawn = Figure(figsize=(WIDTH * len(panels), HEIGHT), layout="constrained")
        axes = drawn.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        drawn.suptitle(clean(table.title), fontsize=10)
        for each, (name, found) in zip(axes, panels):
            _panel(each, name, found)
        axes[0].set_ylabel(f"test {table.metric.name} (%)")
        figure.legend(drawn, [p.row.category for _, found in panels for p in found])
        figure.settle(drawn)
        for each, (_, found) in zip(axes, panels):
            write_names(each, found)
    return drawn


def points(table: Table, cost: Cost) -> list[Point]:
    """The control and each row with a difference, by rising cost."""
    control = table.control
    if control is None or table.metric is None or not (scores := control.score(table.metric.key)):
        return []
    base = sum(scores.values()) / len(scores)
    found = []
    for row in table.rows:
        price, effect = cost(row), row.effect
        if price is None or (row is not control and (effect is None or effect.mean is None)):
            continue
        mean, low, high = (effect.mean, effect.low, effect.high) if effect else (0.0, None, None)
        at = base + (mean or 0.0)
        ends = [at if end is None else base + end for end in (low, high)]
        found.append(Point(row, *price, at, ends[0], ends[1]))
    return sorted(found, key=lambda p: (p.cost, -p.score, p.row.name))


def frontier(points: Sequence[Point]) -> list[Point]:
    """Those that no other beats in both cost and score, by rising cost; `points` are sorted that way."""
    kept: list[Point] = []
    for point in points:
        if not kept or point.score > kept[-1].score:
            kept.append(point)
    return kept


def limits(found: Sequence[Point]) -> tuple[float, float]:
    """Ends of a logarithmic axis of ratios: all points, the control, and a least span."""
    low, high = min(p.cost_low for p in found) / 1.02, max(p.cost_high for p in found) * 1.02
    if high / low >= LEAST_SPAN:
        return low, high
    more = (LEAST_SPAN / (high / low)) ** 0.5
    return low / more, high * more


def _panel(axes: "Axes", name: str, found: list[Point]) -> None:
    """One cost: control line, frontier, bars and marks."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

    axes.set_xscale("log")
    axes.set_xlim(*limits(found))
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel(name)
    best = frontier(found)
    axes.step(
        [p.cost for p in best], [p.score for p in best], where="post", color="#888888", lw=1.2, zorder=1
    )
    for point in found:
        number = figure.index(point.row.category)
        if point.row.attn == CONTROL:
            axes.axhline(point.score, color=figure.COLORS[0], lw=0.8, ls="--", zorder=1)
        reach = [[point.score - point.low], [point.high - point.score]]
        across = [[point.cost - point.cost_low], [point.cost_high - point.cost]]
        axes.errorbar(
            point.cost,
            point.score,
            yerr=reach if point.low < point.high else None,
            xerr=across if point.cost_low < point.cost_high else None,
            color=figure.COLORS[number],
            fmt=figure.MARKERS[number],
            ms=5,
            elinewidth=0.9,
            alpha=0.9,
        )


def _named(point: Point) -> tuple[float, float, str, str]:
    color = figure.COLORS[figure.index(point.row.category)]
    return point.cost, point.score, point.row.name, color


def write_names(axes: "Axes", found: list[Point]) -> list[str]:
    """Write the names that have room, the frontier's first; those that have none."""
    best = frontier(found)
    named = [*best, *(p for p in found if p not in best and len(found) <= MOST_NAMES)]
    marks = [figure.around(axes, (p.cost,) * 2, (p.score,) * 2, MARK) for p in found]
    bars = [figure.around(axes, (p.cost,) * 2, (p.low, p.high), 1.0) for p in found]
    bars += [figure.around(axes, (p.cost_low, p.cost_high), (p.score,) * 2, 1.0) for p in found]
    return figure.label(axes, [_named(p) for p in named], marks, bars)
