"""One picture a leaderboard: the difference in accuracy against what the attention costs, as plain SVG."""

import math
from collections.abc import Callable
from html import escape

from attnbench.mechanisms import CATEGORIES
from attnbench.report.rows import Row, Table

WIDTH, LEFT, RIGHT, TOP, LINE = 900, 60, 620, 50, 15  # px; labels stand to the right of RIGHT
TICKS = (0.1, 0.2, 0.5, 0.8, 0.9, 1, 1.01, 1.02, 1.05, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100)
LIGHT = ("#0072b2", "#d55e00", "#009e73", "#a0528a", "#8a6d00", "#3b3b3b")  # one a category
DARK = ("#56b4e9", "#ff8c42", "#2fd6a3", "#e79fc9", "#f0e442", "#dddddd")


def _ratio(*path: str) -> Callable[[Row], float | None]:
    def value(row: Row) -> float | None:
        mine, change = row.middle(*path), row.change(*path)
        return mine / (mine - change) if mine and change is not None and mine > change else None

    return value


AXES: list[tuple[str, Callable[[Row], float | None]]] = [  # the first that all points have is drawn
    ("latency", lambda row: row.middle("cost", "latency", "ratio")),
    ("multiply-adds", _ratio("cost", "macs")),
    ("parameters", _ratio("cost", "params")),
]


def picture(table: Table) -> str | None:
    """The SVG, readable on light and dark ground; None where fewer than two rows have a difference."""
    rows = [row for row in table.rows if row.effect and row.effect.mean is not None]
    axis = next(((name, f) for name, f in AXES if all((f(r) or 0) > 0 for r in rows)), None)
    if len(rows) < 2 or axis is None:
        return None
    name, cost = axis
    rows.sort(key=lambda row: (-_mean(row), row.name))
    height = max(360, TOP + LINE * (len(rows) + 2) + 60)
    bottom = height - 60
    x, ticks = _across([cost(row) or 1.0 for row in rows])
    y, levels = _up([v for row in rows for v in _reach(row)], bottom)
    bars = "bars: 95 %" if any(low < high for low, high in map(_reach, rows)) else "one seed, no interval"
    drawn = [
        _text(
            LEFT,
            20,
            f"Δ {table.metric.name if table.metric else ''} to none (points; {bars}): {table.title}",
            "start",
        )
    ]
    drawn += [_line(x(t), TOP, x(t), bottom, "grid") + _text(x(t), bottom + 18, f"{t:g}×") for t in ticks]
    drawn += [
        _line(LEFT, y(v), RIGHT, y(v), "grid") + _text(LEFT - 8, y(v) + 4, f"{v:+g}" if v else "0", "end")
        for v in levels
    ]
    drawn.append(_line(LEFT, y(0), RIGHT, y(0), "zero"))
    drawn.append(_text((LEFT + RIGHT) / 2, bottom + 38, f"{name}, ratio to none"))
    drawn += [_point(row, x(cost(row) or 1.0), y, TOP + 30 + LINE * i) for i, row in enumerate(rows)]
    return _page(height, [*drawn, *_legend({row.category for row in rows})])


def _across(values: list[float]) -> tuple[Callable[[float], float], list[float]]:
    """Position of a ratio on a logarithmic axis, and where it has its ticks."""
    low, high = math.log(min(1.0, *values) / 1.01), math.log(max(1.0, *values) * 1.01)
    ticks = [1.0]
    for tick in TICKS:
        if low <= math.log(tick) <= high and all(abs(math.log(tick / t)) > (high - low) / 9 for t in ticks):
            ticks.append(tick)
    return lambda v: LEFT + (math.log(v) - low) / (high - low) * (RIGHT - LEFT), ticks


def _up(values: list[float], bottom: float) -> tuple[Callable[[float], float], list[float]]:
    """Position of a difference, and where its axis has its ticks."""
    low, high = min(0.0, *values), max(0.0, *values)
    span = (high - low) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 5))
    step = next(power * f for f in (1, 2, 5, 10) if span / (power * f) <= 6)
    levels = [round(step * i, 9) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return lambda v: TOP + 10 + (high - v) / span * (bottom - TOP - 20), levels


def _point(row: Row, x: float, y: Callable[[float], float], label: float) -> str:
    """A row's point and interval, and a thin line from it to the row's name at height `label`."""
    low, mean, high = y(_reach(row)[0]), y(_mean(row)), y(_reach(row)[1])
    said = escape(f"{row.name}: {_mean(row):+.2f}")
    place = CATEGORIES.index(row.category) if row.category in CATEGORIES else 0
    return (
        f'<g class="c{place}"><title>{said}</title>{_line(x, low, x, high, "reach")}'
        f'{_line(x, mean, RIGHT + 12, label - 4, "lead")}<circle cx="{x:.1f}" cy="{mean:.1f}" r="4"/>'
        f'<circle cx="{RIGHT + 16}" cy="{label - 4:.1f}" r="3"/>'
        f"{_text(RIGHT + 24, label, row.name, 'start')}</g>"
    )


def _legend(present: set[str]) -> list[str]:
    """The categories that have a point, in their colours, along the lower edge of the names."""
    named = [(i, c) for i, c in enumerate(CATEGORIES) if c in present]
    parts = []
    for n, (i, category) in enumerate(named):
        left = LEFT + n * (WIDTH - LEFT) // len(CATEGORIES)
        parts.append(f'<g class="c{i}"><circle cx="{left}" cy="36" r="4"/></g>')
        parts.append(_text(left + 8, 40, category.replace("_", " & "), "start"))
    return parts


def _mean(row: Row) -> float:
    return row.effect.mean if row.effect and row.effect.mean is not None else 0.0


def _reach(row: Row) -> tuple[float, float]:
    """Ends of its interval; its mean twice where it has none."""
    if row.effect is None or row.effect.low is None or row.effect.high is None:
        return _mean(row), _mean(row)
    return row.effect.low, row.effect.high


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _page(height: int, drawn: list[str]) -> str:
    def colours(ink: str, ground: str, palette: tuple[str, ...]) -> str:
        own = [f".c{i} circle{{fill:{c}}}.c{i} line{{stroke:{c}}}" for i, c in enumerate((ink, *palette))]
        return f".ground{{fill:{ground}}}text{{fill:{ink}}}.grid,.zero{{stroke:{ink}}}{''.join(own)}"

    style = (
        "text{font:11px sans-serif}.reach{stroke-width:1.5;opacity:.6}.lead{stroke-width:.5;opacity:.5}"
        f".grid{{opacity:.12}}.zero{{opacity:.6}}{colours('#222222', '#ffffff', LIGHT)}"
        f"@media(prefers-color-scheme:dark){{{colours('#dddddd', '#0d1117', DARK)}}}"
    )
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>'
    ground = f'<rect class="ground" width="{WIDTH}" height="{height}"/>'
    return "\n".join([head, ground, *drawn, "</svg>"]) + "\n"
