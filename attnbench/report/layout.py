"""Tables as text: Markdown for people, CSV for programs."""

import csv
import io
import re
from collections.abc import Iterable

from tabulate import tabulate

from attnbench.report import notes
from attnbench.report.columns import REMARKS, Column, sections
from attnbench.report.conditions import conditions
from attnbench.report.rows import Row, Table

MARK = "<!-- generated from cells/ by `python -m attnbench report`; do not edit -->"
SAME = ("task", "data", "backbone", "recipe", "metric")  # what all rows of a CSV's table share


def markdown(table: Table, picture: str | None = None) -> str:
    """One leaderboard: a Markdown table a section, then notes and conditions."""
    parts = [MARK, f"# {plain(table.title)}"]
    for heading, columns in sections(table).items():
        parts += [f"## {heading}", grid(table.rows, columns)]
    if picture:
        parts.append(f"![Difference in accuracy against the change in cost]({picture})")
    if said := notes.of_table(table):
        parts += ["## Notes", bullets(plain(note) for note in said)]
    parts += ["## Conditions", bullets(f"{name}: {plain(text)}" for name, text in conditions(table))]
    return "\n\n".join(parts) + "\n"


def grid(rows: Iterable[Row], columns: list[Column], form: str = "pipe") -> str:
    """Rows and columns as an aligned table, text to the left and numbers to the right."""
    shown = [c for c in columns if c.heading]
    cells = [[plain(c.cell(row)) for c in shown] for row in rows]
    if form == "pipe":
        cells = [[text.replace("|", "\\|") for text in line] for line in cells]
    headings = [c.heading if form == "pipe" else c.heading.replace(" (", "\n(") for c in shown]
    aligned = ["left" if c.text else "right" for c in shown]
    return tabulate(cells, headings, form, colalign=aligned, disable_numparse=True)


def comma_separated(found: Iterable[Table]) -> str:
    """One header line, then a line a row in full precision, empty where nothing was measured."""
    found = list(found)
    own = {t.fingerprint: [c for part in sections(t).values() for c in part] + REMARKS for t in found}
    keys = list(dict.fromkeys([*SAME, *(key for cs in own.values() for c in cs for key in c.keys), "table"]))
    text = io.StringIO()
    writer = csv.DictWriter(text, keys, restval="", lineterminator="\n")
    writer.writeheader()
    for table in found:
        shared = {**{k: getattr(table, k) for k in SAME[:4]}, "table": table.fingerprint}
        shared["metric"] = table.metric.key if table.metric else ""
        for row in table.rows:
            told = {c.keys: c.of(row) for c in own[table.fingerprint]}
            writer.writerow(shared | {k: v for keys, found in told.items() for k, v in zip(keys, found)})
    return text.getvalue()


def bullets(lines: Iterable[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {line}" for line in lines)


def plain(text: str) -> str:
    """Text in one line that Markdown does not take for HTML."""
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", " ".join(text.split()))
