"""Pictures: every row that has a difference, escaped, inside the frame, the same each time."""

import io
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from attnbench import report
from attnbench.report.pages.drawing import LIGHT, Line, Mark, Text, png, svg
from attnbench.report.pages.plot import Point, frontier, picture
from attnbench.report.tables.table import tables
from tests.report.test_report import grid, page, put, record

STEM = "cls-cifar10-resnet20-short"
SPACE = "{http://www.w3.org/2000/svg}"


def drawn(*made: dict[str, Any]) -> ElementTree.Element:
    (table,) = tables(made)
    found = picture(table)
    assert found is not None
    return ElementTree.fromstring(svg(*found))


def test_every_row_that_has_a_difference_is_a_mark_in_each_panel() -> None:
    alone = record("gc", 9, 60.0)  # without a control of its seed
    root = drawn(*grid(("none", "se", "eca", "simam")), alone)
    titles = [t.text or "" for t in root.iter(f"{SPACE}title")]
    names = [title.partition(":")[0].partition(" at ")[0] for title in titles]
    assert sorted(names) == sorted(3 * ["eca", "none", "se", "simam"])
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    for polygon in root.iter(f"{SPACE}polygon"):
        for point in (polygon.get("points") or "").split():
            x, y = map(float, point.split(","))
            assert 0 < x < width and 0 < y < height
    for text in root.iter(f"{SPACE}text"):
        assert 0 <= float(text.get("x", -1)) < width


def test_bars_are_the_intervals_of_the_differences() -> None:
    def bars(seeds: int) -> int:
        lines = drawn(*grid(("none", "se", "eca"), seeds)).iter(f"{SPACE}line")
        return sum("reach" in (line.get("class") or "") for line in lines)

    assert bars(3) == 6  # of two rows in three panels
    assert bars(1) == 0


def test_a_mechanism_and_its_control_alone_are_no_picture() -> None:
    (table,) = tables([record("none", 0, 60.0)])
    assert picture(table) is None
    (costs,) = tables([record(a, 0, None) for a in ("none", "se", "eca")])
    assert picture(costs) is None


def test_what_was_not_measured_takes_its_panel_away() -> None:
    made = grid()
    for one in made:
        one["cost"]["latency"] = None
    texts = [t.text for t in drawn(*made).iter(f"{SPACE}text")]
    assert "GMACs" in texts and "latency, ratio to none" not in texts


def test_the_frontier_is_what_nothing_beats_in_both() -> None:
    costs = [(1.0, 70.0), (1.1, 69.0), (1.2, 72.0), (1.2, 71.0), (1.5, 71.9), (2.0, 72.5)]
    row = tables([record("none", 0, 60.0)])[0].rows[0]
    points = [Point(row, cost, score, score, score) for cost, score in costs]
    assert [(p.cost, p.score) for p in frontier(points)] == [(1.0, 70.0), (1.2, 72.0), (2.0, 72.5)]


def test_names_are_escaped_and_equal_costs_and_scores_are_borne() -> None:
    flat = {"cost__latency__ratio": 1.0, "cost__params": 5}
    made = [record(a, s, 60.0, **flat) for a in ("none", "se(mode=<b>&)", "eca") for s in range(2)]
    root = drawn(*made)
    assert any("se(mode=<b>&)" in (t.text or "") for t in root.iter(f"{SPACE}title"))


@pytest.mark.parametrize("spread", [1e-9, 1.0, 1e6])
def test_axes_bear_any_spread(spread: float) -> None:
    made = [
        record(a, s, 60.0 + s, cost__macs=1000 + i * spread)
        for i, a in enumerate(("none", "se", "eca"))
        for s in range(2)
    ]
    assert len(list(drawn(*made).iter(f"{SPACE}text"))) > 10


def test_png_is_an_image_of_twice_the_size_with_the_marks_in_their_colours() -> None:
    shapes = [Line(0, 10, 90, 10, "grid"), Mark(50, 25, 1, "se"), Text(5, 40, "none")]
    image = Image.open(io.BytesIO(png(100, 50, shapes))).convert("RGB")
    assert image.size == (200, 100)
    red, green, blue = image.getpixel((100, 50))
    assert (red, green, blue) == pytest.approx(tuple(bytes.fromhex(LIGHT[1][1:])), abs=6)
    assert image.getpixel((199, 99)) == pytest.approx((255, 255, 255), abs=3)
    assert png(100, 50, shapes) == png(100, 50, shapes)


def test_pictures_are_linked_from_the_page(tmp_path: Path) -> None:
    report.write(put(tmp_path, *grid()))
    assert f"]({STEM}.svg)" in page(tmp_path) and f"({STEM}.png)" in page(tmp_path)
    assert Image.open(tmp_path / f"{STEM}.png").format == "PNG"
