"""Tables as text: Markdown for people, CSV for programs."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from attnbench.report.pages import survey
from attnbench.report.papers import beside
from attnbench.report.tables import latency, notes
from attnbench.report.tables.columns import LATENCY, TRAINING_STEP, Column
from attnbench.report.tables.conditions import conditions
from attnbench.report.tables.sections import of_csv, sections
from attnbench.report.tables.table import Remembering, Table

MARK = "<!-- generated from cells/ by `python -m attnbench report`; do not edit -->"
PAPERS = "Papers and ours"
TIMED = (LATENCY, TRAINING_STEP)
SAME = ("task", "data", "backbone", "recipe", "metric")  # what all rows of a CSV's table share


Parts = dict[str, tuple[Sequence[Remembering], list[Column]]]  # heading -> rows and columns


def parts(table: Table) -> Parts:
    """All of a leaderboard: its own sections, then papers beside it where any tell of its network."""
    found: Parts = {heading: (table.rows, columns) for heading, columns in sections(table).items()}
    if beside.is_published(table):
        found[PAPERS] = beside.lines(table), beside.columns(table)
    return found


def markdown(table: Table, pictures: Mapping[str, str]) -> str:
    """One leaderboard: a Markdown table a section, pictures (file -> what it shows), notes and conditions."""
    written = [MARK, f"# {plain(table.title)}"]
    for heading, (rows, columns) in parts(table).items():
        written += [f"## {heading}", grid(rows, columns)]
        if marks := latency.legend([c.cell(row) for c in columns if c in TIMED for row in rows]):
            written.append(plain("; ".join(marks) + "."))
        if heading == PAPERS:
            written.append(beside.UNITS)
    for file, shows in pictures.items():
        stem = file.removesuffix(".svg")
        written.append(f"![{plain(shows)}]({file})\n\n[PNG]({stem}.png), [PDF]({stem}.pdf)")
    if stated := notes.of_table(table):
        written += ["## Notes", bullets(plain(note) for note in stated)]
    written += ["## Conditions", bullets(f"{name}: {plain(text)}" for name, text in conditions(table))]
    return "\n\n".join(written) + "\n"


def survey_page(category: str, title: str, found: Parts) -> str:
    """One category's page: the survey's table, what we measured, what is published, differences."""
    written = [MARK, f"# {title}"]
    for heading, (rows, columns) in found.items():
        written += [f"## {heading}", grid(rows, columns)]
        if heading == next(iter(found)):
            written.append(plain(survey.legend(category)))
    if stated := survey.differences(category):
        written += ["## Where our cards differ from the survey's table", bullets(map(plain, stated))]
    return "\n\n".join(written) + "\n"


def tidy(found: Parts) -> str:
    """The parts' columns side by side as CSV, for parts that share their rows."""
    rows = next(iter(found.values()))[0]
    columns = [c for _, columns in found.values() for c in columns]
    return written([{k: v for c in columns for k, v in zip(c.keys, c.of(row))} for row in rows])


def written(lines: Sequence[Mapping[str, Any]], first: Sequence[str] = (), last: Sequence[str] = ()) -> str:
    """CSV of lines by the names of their fields, a missing field left empty."""
    between = (key for line in lines for key in line if key not in last)
    text = io.StringIO()
    keys = list(dict.fromkeys([*first, *between, *last]))
    writer = csv.DictWriter(text, keys, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: cell(value) for key, value in line.items()} for line in lines)
    return text.getvalue()


def grid(rows: Iterable[Remembering], columns: list[Column]) -> str:
    """Rows and columns as an aligned Markdown table, text to the left and numbers to the right."""
    shown = [c for c in columns if c.heading]
    lines = [[plain(c.cell(row)).replace("|", "\\|") for c in shown] for row in rows]
    return aligned([c.heading for c in shown], lines, [c.text for c in shown])


def aligned(headings: Sequence[str], lines: Sequence[Sequence[str]], left: Sequence[bool]) -> str:
    """A Markdown table of texts, each column as wide as its widest cell."""
    wide = [max(map(len, column)) for column in zip(headings, *lines)]
    form = " | ".join(f"{{:{'<' if to_left else '>'}{w}}}" for w, to_left in zip(wide, left))
    rule = "|".join(f":{'-' * (w + 1)}" if to_left else f"{'-' * (w + 1)}:" for w, to_left in zip(wide, left))
    return "\n".join(
        [f"| {form.format(*headings)} |", f"|{rule}|", *(f"| {form.format(*x)} |" for x in lines)]
    )


def terminal(rows: Iterable[Remembering], columns: list[Column]) -> str:
    """The same for a terminal, headings over several lines."""
    shown = [c for c in columns if c.heading]
    cells = [[plain(c.cell(row)) for c in shown] for row in rows]
    headings = [c.heading.replace(" (", "\n(") for c in shown]
    sides = ["left" if c.text else "right" for c in shown]
    return tabulate(cells, headings, "simple", colalign=sides, disable_numparse=True)


def comma_separated(found: Iterable[Table]) -> str:
    """One header line, then a line a row in full precision, empty where nothing was measured."""
    lines = []
    for table in found:
        columns = of_csv(table)
        for row in table.rows:
            measured = {c.keys: c.of(row) for c in columns}
            values = {key: value for keys, got in measured.items() for key, value in zip(keys, got)}
            lines.append({**shared(table), **values})
    return written(lines, SAME, ("table",))


def papers(found: Iterable[Table]) -> str:
    """What papers say beside what we measured, of all tables, as CSV."""
    lines: list[dict[str, Any]] = []
    for table in found:
        columns = beside.columns(table)
        for line in beside.lines(table):
            values = {k: v for c in columns for k, v in zip(c.keys, c.of(line))}
            lines.append({**shared(table), **values})
    return written(lines, SAME, ("table",))


def shared(table: Table) -> dict[str, str]:
    """What all rows of a table have in common."""
    own = {key: getattr(table, key) for key in SAME[:4]}
    return {**own, "metric": table.metric.column if table.metric else "", "table": table.fingerprint}


def bullets(lines: Iterable[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {line}" for line in lines)


def clean(text: str) -> str:
    """Text in one line, without the control characters that no viewer shows and some obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def plain(text: str) -> str:
    """Text in one line that Markdown takes neither for HTML nor for a link or a picture."""
    escaped = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", clean(text))
    return re.sub(r"(!?)\[([^\]]*)\]\(", r"\\\1[\2\\](", escaped) if "](" in escaped else escaped


def cell(value: Any) -> Any:
    """A value in CSV; text that a spreadsheet would run as a formula begins with an apostrophe."""
    if not isinstance(value, str):
        return value
    text = clean(value)
    return f"'{text}" if text.startswith(("=", "+", "@", "-")) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
