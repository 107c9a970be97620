"""All leaderboards on one page that needs no server and no network, sorted and filtered in the browser."""

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path

from attnbench.mechanisms import CATEGORIES
from attnbench.report.pages import survey
from attnbench.report.papers import beside
from attnbench.report.tables.columns import NAME, Column
from attnbench.report.tables.sections import question
from attnbench.report.tables.sections import sections as sections_of
from attnbench.report.tables.table import Remembering, Row, Table

HERE = Path(__file__).parent
LONG = 32  # letters, from which a column of text wraps
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
READING = (
    "Every row is compared with none, the same network without attention and with the same seed. Differences "
    "are in points, with 95 % intervals; p is Holm-corrected over a table. Fewer than five seeds are "
    "exploratory and not ranked. A dash was not measured. Press a heading to sort."
)


def document(named: Mapping[str, Table], pictures: Mapping[str, Sequence[str]], surveys: bool) -> str:
    """The whole page: a section a leaderboard and, with `surveys`, a category.

    `pictures` are SVGs by their files' stems.
    """
    found = list(named.values())
    sections = {stem: _leaderboard(stem, table, pictures.get(stem, ())) for stem, table in named.items()}
    titles = {stem: table.title for stem, table in named.items()}
    for category, title in survey.NAMES.items() if surveys else ():
        sections[f"survey-{category}"] = _survey(category, title, found)
        titles[f"survey-{category}"] = f"Survey: {title}"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            f"<title>attnbench: results</title><style>{_asset('page.css')}</style></head><body>",
            f"<h1>attnbench: results</h1><p>{escape(READING)}</p>",
            _filters(titles),
            f"<main>{''.join(sections.values())}</main>",
            "<footer>Generated from cells/ by <code>python -m attnbench report</code>.</footer>",
            f"<script>{_asset('page.js')}</script></body></html>\n",
        ]
    )


@cache
def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _filters(titles: Mapping[str, str]) -> str:
    """The bar of filters; hidden until the script runs."""
    categories = "".join(_option(c, c.replace("_", " & ")) for c in CATEGORIES)
    tables = "".join(_option(stem, title) for stem, title in titles.items())
    return (
        '<div id="filters" hidden>'
        '<input id="words" type="search" placeholder="filter rows, e.g. se residual" aria-label="words">'
        f'<select id="category" aria-label="category">{_option("", "all categories")}{categories}</select>'
        f'<select id="only" aria-label="table">{_option("", "all tables")}{tables}</select>'
        '<span id="shown" role="status"></span></div>'
    )


def _option(value: str, text: str) -> str:
    return f'<option value="{escape(value)}">{escape(text)}</option>'


def _leaderboard(stem: str, table: Table, pictures: Sequence[str]) -> str:
    parts = [f"<p>{escape(question(table))}</p>", _table(table.rows, _columns(table))]
    for picture in pictures:
        data = base64.b64encode(picture.encode()).decode()
        source = f'src="data:image/svg+xml;base64,{data}"'
        parts.append(f'<div class="picture"><img {source} alt="Picture of {escape(table.title)}"></div>')
    if beside.is_published(table):
        parts += [
            f"<p>{escape(beside.UNITS.replace('`', ''))}</p>",
            _table(beside.lines(table), beside.columns(table)),
        ]
    return _section(stem, table.title, parts)


def _columns(table: Table) -> list[Column]:
    """All of a leaderboard's columns once, what decides first."""
    asked = [c for section in sections_of(table).values() for c in section]
    return list({c.keys: c for c in (NAME, *asked) if c.heading}.values())


def _survey(category: str, title: str, found: list[Table]) -> str:
    parts = survey.parts(category, found)
    rows = next(iter(parts.values()))[0]
    columns = {c.keys: c for _, some in parts.values() for c in some}
    written = [f"<p>{escape(survey.legend(category))}</p>", _table(rows, list(columns.values()), category)]
    return _section(f"survey-{category}", f"Survey: {title}", written)


def _section(stem: str, title: str, parts: Sequence[str]) -> str:
    return f'<section id="{escape(stem)}"><h2>{escape(title)}</h2>{"".join(parts)}</section>\n'


def _table(rows: Sequence[Remembering], columns: Sequence[Column], category: str = "") -> str:
    """One table; each cell carries the value that it is sorted by."""
    cells = [[column.cell(row) for column in columns] for row in rows]
    kinds = [_kind(c, [line[i] for line in cells]) for i, c in enumerate(columns)]
    heads = "".join(
        f'<th scope="col"{kind}><button>{escape(c.heading)}</button></th>' for c, kind in zip(columns, kinds)
    )
    lines = []
    for row, texts in zip(rows, cells):
        first, *others = [
            f'{kind} data-v="{_value(c, row)}">{escape(text)}' for c, kind, text in zip(columns, kinds, texts)
        ]
        written = "".join(f"<td{cell}</td>" for cell in others)
        own = escape(_category(row) or category)
        lines.append(f'<tr data-category="{own}"><th scope="row"{first}</th>{written}</tr>\n')
    body = f"<tbody>{''.join(lines)}</tbody>"
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead>{body}</table></div>'


def _category(row: Remembering) -> str:
    own = row.row if isinstance(row, beside.Line) else row
    return own.category if isinstance(own, Row) else ""


def _kind(column: Column, texts: Sequence[str]) -> str:
    """The class of a column's cells: text to the left, long text in a wide column."""
    if not column.text:
        return ""
    return ' class="text long"' if max(map(len, texts), default=0) > LONG else ' class="text"'


def _value(column: Column, row: Remembering) -> str:
    """What a cell is sorted by; empty where nothing was measured."""
    value = column.of(row)[0]
    return "" if value is None else escape(str(value))
