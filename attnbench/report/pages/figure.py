"""What all pictures share: colors and marks of categories, labels without overlap, files in three formats."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from attnbench.mechanisms import CATEGORIES
from attnbench.report.pages.leaderboard import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

# Okabe and Ito's colors, distinguished by color-blind readers; the first is for what has no category.
COLORS = ("#222222", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "*", "p", "h")  # a second way to distinguish them
FORMATS = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "attnbench",
    "pdf.fonttype": 42,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "legend.frameon": False,
}
VERSION = 2  # raise it when pictures of the same numbers look different
DENSITY = 150  # pixels of PNG an inch
SIDES, HEIGHTS = ((1, "left"), (-1, "right")), ((0.5, "bottom"), (-0.5, "top"))
PLACES = [  # where a label may stand, in points from its mark, and which of its corners stands there
    (sign * away, half * away, side, height)
    for away in (5, 9, 14)
    for sign, side in SIDES
    for half, height in HEIGHTS
] + [
    (0, sign * away, "center", height)
    for away in (7, 12, 18)
    for sign, height in ((1, "bottom"), (-1, "top"))
]


NEAR = 4  # of the places, those next to the mark


@contextmanager
def style() -> Iterator[None]:
    """The same look whatever the user's own settings of matplotlib are."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def index(category: str) -> int:
    """Of a category among `COLORS` and `MARKERS`."""
    return CATEGORIES.index(category) if category in CATEGORIES else 0


def files(figure: "Figure", mark: str) -> dict[str, bytes]:
    """Ending -> content, the same bytes for the same figure; the SVG carries the mark."""
    return {ending: _saved(figure, ending, mark) for ending in FORMATS}


def _saved(figure: "Figure", ending: str, mark: str) -> bytes:
    written, more = io.BytesIO(), {"Description": mark} if ending == "svg" else {}
    with style():
        figure.savefig(written, format=ending, metadata={**FORMATS[ending], **more}, dpi=DENSITY)
    text = written.getvalue()
    return b"\n".join(line.rstrip() for line in text.split(b"\n")) if ending == "svg" else text


def label(
    axes: "Axes",
    points: Sequence[tuple[float, float, str, str]],
    taken: Sequence["Bbox"],
    lines: Sequence["Bbox"],
) -> list[str]:
    """Write each name beside its point where it covers no mark and no other name; those without room.

    Lines are avoided where a place next to the point avoids them.
    """
    inside, boxes, left_out = axes.get_window_extent(), list(taken), []
    for x, y, name, color in points:
        found = _place(axes, (x, y, name, color), inside, [*boxes, *lines], PLACES[:NEAR]) or _place(
            axes, (x, y, name, color), inside, boxes, PLACES
        )
        if found is None:
            left_out.append(name)
        else:
            boxes.append(found)
    return left_out


def _place(
    axes: "Axes",
    point: tuple[float, float, str, str],
    inside: "Bbox",
    boxes: Sequence["Bbox"],
    places: Sequence[tuple[float, float, str, str]],
) -> "Bbox | None":
    """The box of a name that was written where it covers none of the boxes; None where it was not."""
    from matplotlib.patheffects import withStroke

    x, y, name, color = point
    halo = [withStroke(linewidth=2, foreground="white")]
    text = axes.annotate(
        clean(name), (x, y), (0, 0), textcoords="offset points", fontsize=7, color=color, path_effects=halo
    )
    for dx, dy, side, height in places:
        text.set(position=(dx, dy), ha=side, va=height)
        box = text.get_window_extent()
        fits = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
        if fits and not any(box.overlaps(other) for other in boxes):
            return box
    text.remove()
    return None


def settle(figure: "Figure") -> None:
    """Work out the layout once: what is added later moves nothing."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def around(axes: "Axes", x: tuple[float, float], y: tuple[float, float], more: float = 0.0) -> "Bbox":
    """The box, in the figure's own pixels, of what reaches from the first to the second value each way."""
    from matplotlib.transforms import Bbox

    low, high = axes.transData.transform([(x[0], y[0]), (x[1], y[1])])
    return Bbox.from_extents(low[0] - more, low[1] - more, high[0] + more, high[1] + more)


def legend(figure: "Figure", categories: Sequence[str]) -> None:
    """The categories that the picture shows, under it."""
    from matplotlib.lines import Line2D

    marks = []
    for category in (c for c in CATEGORIES if c in categories):
        color, marker = COLORS[index(category)], MARKERS[index(category)]
        name = category.replace("_", " & ")
        marks.append(Line2D([], [], color=color, marker=marker, linestyle="", label=name))
    figure.legend(handles=marks, loc="outside lower center", ncols=max(len(marks), 1), fontsize=8)
