"""The files of a report: a pure function of the records."""

import hashlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from attnbench.errors import UserError
from attnbench.report.load import Loaded
from attnbench.report.pages import across, figure, html, index, latex, leaderboard, survey
from attnbench.report.pages.forest import forest
from attnbench.report.pages.names import names
from attnbench.report.pages.plot import picture
from attnbench.report.tables.sections import sections
from attnbench.report.tables.table import Table, tables

TOGETHER = "accuracy-cost.csv"  # the rows of all tables that have an accuracy
PAPERS = "papers.csv"  # published figures beside ours, of all tables
ENDINGS = (".md", ".csv", ".tex", ".svg", ".png", ".pdf")  # of one leaderboard

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """What a report is to hold beside its leaderboards."""

    survey: bool = False  # the survey's tables
    difference: float | None = None  # points that matter in a verdict; None: each metric's own
    pictures: bool = True


LEADERBOARDS = Choice()


def points(text: str | None) -> float | None:
    """The difference that `difference=TEXT` sets; raises `UserError` where it is no positive number."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 100:
        raise UserError(f"difference={text}: points above 0 and below 100, such as difference=0.5")
    return value


def contents(
    loaded: Loaded,
    choice: Choice = LEADERBOARDS,
    kept: frozenset[str] = frozenset(),
    there: Callable[[str], bytes] = lambda name: b"",
) -> dict[str, bytes]:
    """Name -> content of every file; the index links the pages that others made (`kept`), too.

    `there` reads a file of an earlier report: a picture of the same numbers is not drawn again.
    """
    found = tables(loaded.records, choice.difference)
    named = names([t for t in found if sections(t)])
    made = {
        name: text
        for stem, table in named.items()
        for name, text in _leaderboard(stem, table, choice.pictures, there).items()
    }
    for category in survey.NAMES if choice.survey else ():
        made |= _survey(category, list(named.values()))
    if scored := [t for t in named.values() if t.metric]:
        made[TOGETHER] = leaderboard.comma_separated(scored)
    if named:
        made[PAPERS] = leaderboard.papers(named.values())
    if ranked := across.boards(list(named.values())):
        made |= _across(ranked)
    drawn = {s: [made[f] for end in PICTURES if (f := f"{s}{end}.svg") in made] for s in named}
    pictures = {s: [bytes(p).decode() for p in found if isinstance(p, bytes)] for s, found in drawn.items()}
    made["index.html"] = html.document(named, pictures, choice.survey)
    others = [t for t in found if not sections(t)]
    made["README.md"] = index.page(named, others, loaded.unreadable, frozenset(made), kept)
    return {name: text if isinstance(text, bytes) else text.encode() for name, text in made.items()}


PICTURES: dict[str, tuple[Callable[[Table], Any], str]] = {  # name's end -> what draws it, what it shows
    "": (picture, "Accuracy against cost, with the Pareto frontier"),
    "-differences": (forest, "Differences to none, with intervals"),
}


def _leaderboard(
    stem: str, table: Table, pictures_too: bool, there: Callable[[str], bytes]
) -> dict[str, str | bytes]:
    """The files of one leaderboard."""
    numbers = leaderboard.comma_separated([table])
    shows, drawn = {}, dict[str, bytes]()
    for end, (_, text) in PICTURES.items() if pictures_too else ():
        if made := _try_picture(f"{stem}{end}", end, table, numbers, there):
            shows[f"{stem}{end}.svg"] = text
            drawn |= made
    return {
        f"{stem}.md": leaderboard.markdown(table, shows),
        f"{stem}.csv": numbers,
        f"{stem}.tex": latex.document(leaderboard.parts(table)),
        **drawn,
    }


def _try_picture(
    stem: str, end: str, table: Table, numbers: str, there: Callable[[str], bytes]
) -> dict[str, bytes]:
    """As `_picture`; one that fails is named and left out, and costs nothing else."""
    try:
        return _picture(stem, end, table, numbers, there)
    except Exception as error:  # whatever the drawing library raises
        log.warning("%s: the picture cannot be drawn (%s: %s)", stem, type(error).__name__, error)
        return {}


def _picture(
    stem: str, end: str, table: Table, numbers: str, there: Callable[[str], bytes]
) -> dict[str, bytes]:
    """The files of one picture, drawn only where its numbers have changed; none where it shows nothing."""
    mark = hashlib.sha256(f"{figure.VERSION} {table.title} {numbers}".encode()).hexdigest()[:16]
    before = {f"{stem}.{kind}": there(f"{stem}.{kind}") for kind in figure.FORMATS}
    if all(before.values()) and mark.encode() in before[f"{stem}.svg"][:2000]:
        return before
    made = PICTURES[end][0](table)
    return {} if made is None else {f"{stem}.{kind}": text for kind, text in figure.files(made, mark).items()}


def _survey(category: str, found: list[Table]) -> dict[str, str | bytes]:
    """The files of one category."""
    parts = survey.parts(category, found)
    stem = f"survey-{category}"
    return {
        f"{stem}.md": leaderboard.survey_page(category, survey.NAMES[category], parts),
        f"{stem}.csv": leaderboard.tidy(parts),
        f"{stem}.tex": latex.document(parts),
    }


def _across(ranked: list[across.Board]) -> dict[str, str | bytes]:
    """The files of the rankings over several tables."""
    lines = [
        {"task": board.task, **{k: v for c in columns for k, v in zip(c.keys, c.of(row))}}
        for board, (rows, columns) in zip(ranked, across.parts(ranked).values())
        for row in rows
    ]
    return {
        "across.md": across.page(ranked),
        "across.csv": leaderboard.written(lines),
        "across.tex": latex.document(across.parts(ranked)),
    }
