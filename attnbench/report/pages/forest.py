"""The forest plot of a leaderboard: every row's paired difference with its interval, the largest on top."""

from typing import TYPE_CHECKING

from attnbench.report.pages import figure
from attnbench.report.pages.leaderboard import clean
from attnbench.report.tables import verdicts
from attnbench.report.tables.table import Row, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, LINE, AROUND = 7.0, 0.26, 1.5  # inches: of the picture, of a row, of title and axis
LEAST = 2  # rows with a difference


def forest(table: Table) -> "Figure | None":
    """A line a row, sorted by its difference; None where fewer than two rows have one."""
    rows = [row for row in table.rows if row.effect and row.effect.mean is not None]
    if table.metric is None or len(rows) < LEAST:
        return None
    from matplotlib.figure import Figure

    rows.sort(key=lambda row: (_mean(row), row.name))
    with figure.style():
        drawn = Figure(figsize=(WIDTH, AROUND + LINE * len(rows)), layout="constrained")
        axes = drawn.subplots()
        axes.axvline(0, color=figure.COLORS[0], lw=1, ls="--")
        for place, row in enumerate(rows):
            number = figure.index(row.category)
            color = figure.COLORS[number]
            low, high = _ends(row)
            axes.plot([low, high], [place, place], color=color, lw=1.4)
            filled = color if verdicts.word(row) in ("helps", "hurts") else "white"
            axes.plot(_mean(row), place, figure.MARKERS[number], color=color, markerfacecolor=filled, ms=6)
        axes.set_yticks(range(len(rows)), [clean(row.name) for row in rows])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        right = axes.secondary_yaxis("right")
        right.set_yticks(range(len(rows)), [_said(row) for row in rows], fontsize=8)
        right.tick_params(length=0)
        right.spines["right"].set_visible(False)
        axes.set_xlabel(
            f"Δ {table.metric.name} vs. none (pp), intervals that hold together in 95 %; filled: excludes 0"
        )
        axes.set_title(clean(table.title))
        figure.legend(drawn, [row.category for row in rows])
        figure.settle(drawn)
    return drawn


def _ends(row: Row) -> tuple[float, float]:
    """The ends of its interval; its mean where it has none."""
    if row.effect is None or row.effect.low is None or row.effect.high is None:
        return _mean(row), _mean(row)
    return row.effect.low, row.effect.high


def _mean(row: Row) -> float:
    return row.effect.mean if row.effect and row.effect.mean is not None else 0.0


def _said(row: Row) -> str:
    """The verdict and the seeds behind it."""
    effect = row.effect
    return f"{verdicts.word(row)}, {effect.gained} of {effect.pairs} gained" if effect else ""
