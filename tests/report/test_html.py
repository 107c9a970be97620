"""The page of all leaderboards: its text, and its behaviour in a real headless browser where there is one."""

import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from attnbench import report
from attnbench.report.files import Choice
from tests.factories import grid, put, record

EVIL = "se(mode=<img src=x onerror=alert(1)>&\"')"
BROWSERS = ("chromium", "chromium-browser", "chromium-headless-shell", "google-chrome", "chrome")


def page(results: Path) -> str:
    lost = record("gc", 0, 9.0, status="failed", reason="</script><b>killed", metrics=None, cost=None)
    evil = [record(EVIL, s, 60.0 + s) for s in range(3)]
    report.write(
        put(results, *grid(("none", "se", "eca", "simam"), seeds=5), *evil, lost, record("se", 0, None)),
        Choice(survey=True),
    )
    return (results / "index.html").read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Counts the tags of a page, and demands that each that opens closes in order."""

    VOID = ("meta", "input", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_escaped_and_alone(tmp_path: Path) -> None:
    text = page(tmp_path)
    tags = Tags(text).found
    assert EVIL not in text and html.escape(EVIL) in text
    assert [a for t, a in tags if t == "img" and not (a.get("src") or "").startswith("data:image/svg")] == []
    assert not [t for t, a in tags if t in ("link", "iframe") or (t == "script" and "src" in a)]
    assert not re.search(r"(src|href)=\"?https?:", text)
    assert any(a.get("name") == "viewport" for t, a in tags if t == "meta")


def test_every_leaderboard_and_category_is_a_section(tmp_path: Path) -> None:
    ids = [a["id"] for t, a in Tags(page(tmp_path)).found if t == "section"]
    assert ids[:2] == ["cls-cifar10-resnet20-short", "cls-costs-resnet50-224"]
    assert len([i for i in ids if i and i.startswith("survey-")]) == 6


ASK = """
<script>
const told = {};
const board = document.getElementById("cls-cifar10-resnet20-short");
const names = () => Array.from(board.querySelector("tbody").rows, (r) => r.cells[0].textContent);
const seen = () => Array.from(document.querySelectorAll("main section tbody tr"))
  .filter((r) => r.offsetParent !== null).map((r) => r.cells[0].textContent);
const press = (heading) => Array.from(board.querySelectorAll("th button"))
  .find((b) => b.textContent.startsWith(heading)).click();
const type = (id, value) => {
  document.getElementById(id).value = value;
  document.getElementById(id).dispatchEvent(new Event("input"));
};
told.first = names();
press("Δ top-1"); told.falling = names(); told.sort = board.querySelector("th[aria-sort]").ariaSort;
press("Δ top-1"); told.rising = names();
press("mechanism"); press("mechanism"); told.byName = names();
told.all = seen().length;
type("words", "ECA residual"); told.words = seen(); told.shown = document.getElementById("shown").textContent;
type("words", "no such row"); told.nothing = seen();
type("words", ""); type("category", "channel_spatial"); type("only", board.id); told.category = seen();
type("category", ""); told.only = seen().length;
type("only", ""); told.again = seen().length;
told.overflow = document.documentElement.scrollWidth - window.innerWidth;
told.images = document.images.length;
told.broken = Array.from(document.images).filter((i) => !i.naturalWidth).length;
told.first_cell = getComputedStyle(board.querySelector("tbody th")).position;
document.body.innerHTML = "";
document.body.textContent = "TOLD" + JSON.stringify(told) + "DLOT";
</script>
"""


def browser() -> list[str]:
    """The command of a headless Chromium; skips where there is none."""
    named = os.environ.get("ATTNBENCH_BROWSER")
    found = next(filter(None, [named, *map(shutil.which, BROWSERS)]), None)
    if found is None:
        pytest.skip("no headless Chromium: set ATTNBENCH_BROWSER to its command")
    return [found, "--headless", "--disable-gpu", "--no-sandbox", "--enable-logging=stderr"]


@pytest.fixture(scope="module", params=[(1400, 900), (500, 844)], ids=["desktop", "phone"])
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """What the page did in a browser of that size."""
    command = browser()
    folder = tmp_path_factory.mktemp("page")
    asked = folder / "asked.html"
    asked.write_text(page(folder).replace("</body>", f"{ASK}</body>"), encoding="utf-8")
    size = "--window-size={},{}".format(*request.param)
    ran = subprocess.run(
        [*command, size, "--virtual-time-budget=3000", "--dump-dom", asked.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = html.unescape(ran.stdout.partition("TOLD")[2].partition("DLOT")[0])
    assert found, ran.stderr[-2000:]
    yield {**json.loads(found), "console": [x for x in ran.stderr.splitlines() if "CONSOLE" in x]}


@pytest.mark.browser
def test_no_error_reaches_the_console(told: dict[str, Any]) -> None:
    assert told["console"] == []
    assert (told["images"], told["broken"]) == (1, 0)


@pytest.mark.browser
def test_a_heading_sorts_both_ways_with_what_was_not_measured_last(told: dict[str, Any]) -> None:
    measured = ["simam", "eca", "se", EVIL]
    assert told["sort"] == "descending"
    assert sorted(told["falling"][-2:]) == sorted(told["rising"][-2:]) == ["gc", "none"]
    assert told["falling"][:4] == list(reversed(told["rising"][:4]))
    assert set(told["falling"][:4]) == set(measured)
    assert told["byName"] == sorted(told["first"], key=str.lower)


@pytest.mark.browser
def test_filters_leave_what_fits(told: dict[str, Any]) -> None:
    assert set(told["words"]) == {"eca"}
    assert told["shown"] == f"{len(told['words'])} rows"
    assert told["nothing"] == []
    assert set(told["category"]) == {"simam"}
    assert 0 < told["only"] < told["all"] == told["again"]


@pytest.mark.browser
def test_nothing_but_tables_scrolls_sideways(told: dict[str, Any]) -> None:
    assert told["overflow"] <= 0
    assert told["first_cell"] == "sticky"
