"""The files of a report: a pure function of the records."""

import re
from collections import Counter
from collections.abc import Iterable

from attnbench.report.load import Loaded
from attnbench.report.pages import across, drawing, html, index, latex, leaderboard, survey
from attnbench.report.pages.plot import picture
from attnbench.report.tables.sections import sections
from attnbench.report.tables.table import Table, tables

TOGETHER = "accuracy-cost.csv"  # the rows of all tables that have an accuracy
PAPERS = "papers.csv"  # published figures beside ours, of all tables
ENDINGS = (".md", ".csv", ".tex", ".svg", ".png")  # of one leaderboard


def contents(loaded: Loaded, kept: frozenset[str] = frozenset()) -> dict[str, bytes]:
    """Name -> content of every file; the index links the pages that others made (`kept`), too."""
    found = tables(loaded.records)
    named = names([t for t in found if sections(t)])
    made = {name: text for stem, table in named.items() for name, text in _leaderboard(stem, table).items()}
    for category in survey.NAMES:
        made |= _survey(category, list(named.values()))
    if scored := [t for t in named.values() if t.metric]:
        made[TOGETHER] = leaderboard.comma_separated(scored)
    if named:
        made[PAPERS] = leaderboard.papers(named.values())
    if ranked := across.boards(list(named.values())):
        made |= _across(ranked)
    pictures = {s: str(made[f"{s}.svg"]) for s in named if f"{s}.svg" in made}
    made["index.html"] = html.document(named, pictures)
    others = [t for t in found if not sections(t)]
    made["README.md"] = index.page(named, others, loaded.unreadable, frozenset(made), kept)
    return {name: text if isinstance(text, bytes) else text.encode() for name, text in made.items()}


def _leaderboard(stem: str, table: Table) -> dict[str, str | bytes]:
    """The files of one leaderboard."""
    drawn = picture(table)
    pictures = {f"{stem}.svg": "Accuracy against cost, with the Pareto frontier"} if drawn else {}
    files: dict[str, str | bytes] = {
        f"{stem}.md": leaderboard.markdown(table, pictures),
        f"{stem}.csv": leaderboard.comma_separated([table]),
        f"{stem}.tex": latex.document(leaderboard.parts(table)),
    }
    if drawn:
        files |= {f"{stem}.svg": drawing.svg(*drawn), f"{stem}.png": drawing.png(*drawn)}
    return files


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


def names(found: list[Table]) -> dict[str, Table]:
    """File name, without ending, -> table; the fingerprint tells tables of one name apart."""
    stems = [_stem(table.about) for table in found]
    twice = {stem for stem, n in Counter(stems).items() if n > 1}
    return {_stem((s, t.fingerprint)) if s in twice else s: t for s, t in zip(stems, found)}


def _stem(parts: Iterable[str]) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", "-".join(part.removesuffix(" px") for part in parts)).strip("-.")
