"""One picture a leaderboard: accuracy against multiply-adds, latency and parameters, and its frontier."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from attnbench.mechanisms import CATEGORIES
from attnbench.report.pages.drawing import Line, Mark, Shape, Text
from attnbench.report.tables.table import CONTROL, Row, Table

PANEL, GAP, LEFT, TOP, HEIGHT, BELOW = 300, 52, 56, 62, 300, 44  # px
LETTER = 6.0  # px, about the width of one
MOST_NAMES = 14  # points that all get their names; of more only those on the frontier

Cost = Callable[[Row], float | None]
AXES: list[tuple[str, float, Cost]] = [  # what it is, its unit in the record's, the number
    ("GMACs", 1e9, lambda row: row.middle("cost", "macs")),
    ("latency, ratio to none", 1, lambda row: _latency(row)),
    ("parameters (M)", 1e6, lambda row: row.middle("cost", "params")),
]


@dataclass(frozen=True)
class Point:
    """One row: its cost, its accuracy and the ends of the interval."""

    row: Row
    cost: float
    score: float
    low: float
    high: float

    @property
    def colour(self) -> int:
        return CATEGORIES.index(self.row.category) if self.row.category in CATEGORIES else 0


def picture(table: Table) -> tuple[int, int, list[Shape]] | None:
    """Width, height and what to draw; None where fewer than two rows have a difference and a cost.

    A point's height is the control's mean plus the row's paired difference, its bar that difference's
    interval; further left and up is better, and the steps join what nothing beats in both.
    """
    panels = [(name, points) for name, unit, cost in AXES if len(points := _points(table, cost, unit)) > 2]
    if not panels or table.metric is None:
        return None
    width = LEFT + len(panels) * (PANEL + GAP)
    spans = [v for _, points in panels for p in points for v in (p.low, p.high)]
    shapes: list[Shape] = [
        Text(8, 18, f"{table.title}: test {table.metric.name} (%), bars: 95 % of the difference to none"),
        *_legend([p for _, points in panels for p in points]),
    ]
    for i, (name, points) in enumerate(panels):
        left = LEFT + i * (PANEL + GAP)
        shapes += _panel(left, name, points, min(spans), max(spans))
    return width, TOP + HEIGHT + BELOW, shapes


def _latency(row: Row) -> float | None:
    return 1.0 if row.attn == CONTROL else row.middle("cost", "latency", "ratio")


def _points(table: Table, cost: Cost, unit: float) -> list[Point]:
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
        found.append(Point(row, price / unit, at, ends[0], ends[1]))
    return sorted(found, key=lambda p: (p.cost, -p.score, p.row.name))


def frontier(points: Sequence[Point]) -> list[Point]:
    """Those that no other beats in both cost and score, by rising cost; `points` are sorted that way."""
    kept: list[Point] = []
    for point in points:
        if not kept or point.score > kept[-1].score:
            kept.append(point)
    return kept


def _panel(left: float, name: str, points: list[Point], low: float, high: float) -> list[Shape]:
    """One cost: grid, frontier, bars, marks and the names that have room."""
    x, columns = _scale([p.cost for p in points], left, left + PANEL)
    y, levels = _scale([low, high], TOP + HEIGHT, TOP)
    best = frontier(points)
    shapes: list[Shape] = [Text(left + PANEL / 2, TOP + HEIGHT + 34, name, "middle")]
    for v in columns:
        shapes.append(Line(x(v), TOP, x(v), TOP + HEIGHT, "grid"))
        shapes.append(Text(x(v), TOP + HEIGHT + 16, f"{v:g}", "middle"))
    for v in levels:
        shapes += [Line(left, y(v), left + PANEL, y(v), "grid"), Text(left - 6, y(v) + 4, f"{v:g}", "end")]
    shapes += [
        Line(left, y(p.score), left + PANEL, y(p.score), "zero") for p in points if p.row.attn == CONTROL
    ]
    for here, after in pairwise(best):
        shapes.append(Line(x(here.cost), y(here.score), x(after.cost), y(here.score), "frontier"))
        shapes.append(Line(x(after.cost), y(here.score), x(after.cost), y(after.score), "frontier"))
    bars = [p for p in points if p.low < p.high]
    shapes += [Line(x(p.cost), y(p.low), x(p.cost), y(p.high), "reach", p.colour) for p in bars]
    shapes += [Mark(x(p.cost), y(p.score), p.colour, _says(p)) for p in points]
    named = points if len(points) <= MOST_NAMES else best
    marks = [Mark(x(p.cost), y(p.score), p.colour) for p in points]
    lines = [s for s in shapes if isinstance(s, Line) and s.kind in ("zero", "frontier")]
    return shapes + _names([(x(p.cost), y(p.score), p.row.name) for p in named], [*marks, *lines], left)


def _says(point: Point) -> str:
    reach = "" if point.low == point.high else f" [{point.low:.2f}, {point.high:.2f}]"
    return f"{point.row.name}: {point.score:.2f}{reach} at {point.cost:.4g}"


def _names(named: list[tuple[float, float, str]], others: Sequence[Mark | Line], left: float) -> list[Shape]:
    """Each name beside its mark where it covers no mark, no line and no other name, else left out."""
    taken = [_box(other) for other in others]
    shapes: list[Shape] = []
    for x, y, name in sorted(named, key=lambda n: (n[1], n[0])):
        wide = LETTER * len(name)
        for dx, dy in ((8, -6), (8, 15), (-8 - wide, -6), (-8 - wide, 15), (-wide / 2, -10), (-wide / 2, 20)):
            box = (x + dx, y + dy - 9, x + dx + wide, y + dy + 2)
            inside = left <= box[0] and box[2] <= left + PANEL and box[1] >= TOP and box[3] <= TOP + HEIGHT
            if inside and not any(_touch(box, other) for other in taken):
                taken.append(box)
                shapes.append(Text(x + dx, y + dy, name))
                break
    return shapes


def _box(shape: Mark | Line) -> tuple[float, float, float, float]:
    """What a mark or an upright line covers: left, top, right, bottom."""
    if isinstance(shape, Mark):
        return shape.x - 5, shape.y - 5, shape.x + 5, shape.y + 5
    across, down = sorted((shape.x1, shape.x2)), sorted((shape.y1, shape.y2))
    return across[0], down[0] - 1, across[1], down[1] + 1


def _touch(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _scale(values: Sequence[float], start: float, end: float) -> tuple[Callable[[float], float], list[float]]:
    """Position of a value between two ends, and where the axis has its ticks; logarithmic over a decade."""
    low, high = min(values), max(values)
    if low > 0 and high / low >= 10:
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [f * 10.0**e for e in exponents for f in (1, 2, 5)]
        place, ends = math.log, (low / 1.1, high * 1.1)
    else:
        room = 0.06 * ((high - low) or abs(high) or 1.0)
        ends = (low - room, high + room)
        step = _step(ends[1] - ends[0])
        ticks = [round(step * i, 9) for i in range(math.ceil(ends[0] / step), math.floor(ends[1] / step) + 1)]
        place = float  # type: ignore[assignment]
    first, last = place(ends[0]), place(ends[1])
    shown = [t for t in ticks if ends[0] <= t <= ends[1]]
    return lambda v: start + (place(v) - first) / (last - first) * (end - start), shown


def _step(span: float) -> float:
    """A round distance of ticks, at most five of them."""
    power = 10.0 ** math.floor(math.log10(span / 5))
    return next(power * f for f in (1, 2, 2.5, 5, 10) if span / (power * f) <= 5)


def _legend(points: list[Point]) -> list[Shape]:
    """The categories that have a point, each with its mark."""
    shapes: list[Shape] = []
    left = 14.0
    for i, category in enumerate(CATEGORIES):
        if any(p.colour == i for p in points):
            text = category.replace("_", " & ")
            shapes += [Mark(left, 38, i), Text(left + 10, 42, text)]
            left += 10 + LETTER * len(text) + 26
    return shapes
