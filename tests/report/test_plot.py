"""Pictures: every row that has a difference, ratios on axes that can be read, the same bytes each time."""

import io
import xml.etree.ElementTree as ElementTree
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from attnbench import report
from attnbench.report.pages import figure, plot
from attnbench.report.pages.forest import forest
from attnbench.report.pages.plot import AXES, LEAST_SPAN, Point, frontier, limits, picture, points
from attnbench.report.tables.table import Table, tables
from tests.factories import grid, page, put, record

STEM = "cls-cifar10-resnet20-short"
SVG = "{http://www.w3.org/2000/svg}"


def table(*made: dict[str, Any]) -> Table:
    (found,) = tables(made)
    return found


def drawn(*made: dict[str, Any]) -> Any:
    found = picture(table(*made))
    assert found is not None
    return found


def test_every_row_that_has_a_difference_is_a_point_relative_to_the_control() -> None:
    alone = record("gc", 9, 60.0)  # without a control of its seed
    one = table(*grid(("none", "se", "eca", "simam")), alone)
    for name, cost in AXES:
        found = points(one, cost)
        assert {p.row.attn for p in found} == {"none", "se", "eca", "simam"}, name
        assert next(p.cost for p in found if p.row.attn == "none") == 1.0
    params = {p.row.attn: p.cost for p in points(one, AXES[2][1])}
    assert params["se"] == pytest.approx(273054 / 272474)


def test_axes_have_titles_ratios_and_a_least_span() -> None:
    axes = drawn(*grid()).axes
    assert [a.get_xlabel() for a in axes] == [name for name, _ in AXES]
    assert all("(× none)" in a.get_xlabel() and a.get_xscale() == "log" for a in axes)
    assert axes[0].get_ylabel() == "test top-1 (%)"
    for each in axes:  # the costs of these rows differ by 0.2 % at most
        low, high = each.get_xlim()
        assert high / low >= LEAST_SPAN * 0.999 and low < 1 < high


def test_bars_are_the_intervals_and_one_seed_has_none() -> None:
    def bars(seeds: int) -> int:
        axes = drawn(*grid(("none", "se", "eca"), seeds)).axes
        return sum(len(c[2]) for each in axes for c in each.containers)

    assert bars(3) > bars(1)
    (_, se, eca) = sorted(points(table(*grid(seeds=5)), AXES[0][1]), key=lambda p: p.score)
    assert se.low < se.score < se.high and eca.low < eca.score < eca.high


def test_a_mechanism_and_its_control_alone_are_no_picture() -> None:
    assert picture(table(record("none", 0, 60.0))) is None
    assert picture(table(*(record(a, 0, None) for a in ("none", "se", "eca")))) is None
    assert forest(table(record("none", 0, 60.0), record("se", 0, 61.0))) is None


def test_what_was_not_measured_takes_its_panel_away_and_so_does_a_disturbed_clock() -> None:
    made = grid()
    for one in made:
        one["cost"]["latency"] = None
    assert [a.get_xlabel() for a in drawn(*made).axes] == ["GMACs (× none)", "parameters (× none)"]


def test_the_frontier_is_what_nothing_beats_in_both() -> None:
    costs = [(1.0, 70.0), (1.1, 69.0), (1.2, 72.0), (1.2, 71.0), (1.5, 71.9), (2.0, 72.5)]
    row = tables([record("none", 0, 60.0)])[0].rows[0]
    found = [Point(row, cost, cost, cost, score, score, score) for cost, score in costs]
    assert [(p.cost, p.score) for p in frontier(found)] == [(1.0, 70.0), (1.2, 72.0), (2.0, 72.5)]


@pytest.mark.parametrize("spread", [1e-9, 1.0, 1e6])
def test_axes_bear_any_spread(spread: float) -> None:
    made = [
        record(a, s, 60.0 + s, cost__macs=1000 + i * spread)
        for i, a in enumerate(("none", "se", "eca"))
        for s in range(2)
    ]
    found = points(table(*made), AXES[0][1])
    low, high = limits(found)
    assert low < min(p.cost for p in found) and high > max(p.cost for p in found)
    assert high / low >= LEAST_SPAN * 0.999


def test_names_cover_no_mark_and_no_other_name() -> None:
    attns = ("none", *(f"se(reduction={r})" for r in range(2, 10)))
    made = [record(a, s, 60 + 0.02 * i + 0.1 * s) for i, a in enumerate(attns) for s in range(3)]
    canvas = drawn(*made)
    for axes in canvas.axes:
        boxes = [text.get_window_extent() for text in axes.texts]
        assert not [1 for a, b in combinations(boxes, 2) if a.overlaps(b)]
        assert all(axes.get_window_extent().contains(box.x0, box.y0) for box in boxes)


def test_a_forest_has_a_line_a_row_the_largest_difference_on_top() -> None:
    found = forest(table(*grid(("none", "se", "eca", "gc"), seeds=5)))
    assert found is not None
    axes = found.axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["se at residual", "eca at residual", "gc at residual"]  # from below
    assert axes.get_xlabel().startswith("Δ top-1 vs. none (pp)")


@pytest.mark.parametrize("name", ["se(mode=<b>&)", "se(\x1b[31m\x00)", "se($x_{1}$ %~^)"])
def test_any_name_gives_files_that_viewers_open(name: str) -> None:
    made = [record(a, s, 60.0 + i) for i, a in enumerate(("none", name, "eca")) for s in range(2)]
    files = figure.files(drawn(*made), "0123")
    ElementTree.fromstring(files["svg"])
    assert Image.open(io.BytesIO(files["png"])).size[0] > 1000
    assert files["pdf"].startswith(b"%PDF")


@pytest.mark.pictures
def test_pictures_are_the_same_bytes_are_linked_and_not_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    report.write(put(tmp_path / "a", *grid()))
    report.write(put(tmp_path / "b", *grid()))
    names = [f"{STEM}{end}.{kind}" for end in ("", "-differences") for kind in figure.FORMATS]
    first = {name: (tmp_path / "a" / name).read_bytes() for name in names}
    assert first == {name: (tmp_path / "b" / name).read_bytes() for name in names}
    assert all(f"({name})" in page(tmp_path / "a") for name in names)
    monkeypatch.setattr(plot, "_panel", None)  # drawing would fail
    report.write(tmp_path / "a")
    assert first == {name: (tmp_path / "a" / name).read_bytes() for name in names}
    put(tmp_path / "a", record("se", 0, 61.5))
    assert not caplog.text
    report.write(tmp_path / "a")
    assert "the picture cannot be drawn (TypeError" in caplog.text
