"""Tables for papers: LaTeX with the rules of booktabs."""

from collections.abc import Iterable, Mapping
from typing import Any

from attnbench.report.tables.columns import Column

PREAMBLE = (
    "% generated from cells/ by `python -m attnbench report`; do not edit\n"
    "% needs \\usepackage{booktabs} and, for wide ones, \\resizebox or landscape pages\n"
)
SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"$<$",
    ">": r"$>$",
    "Δ": r"$\Delta$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "≈": r"$\approx$",
    "±": r"$\pm$",
    "—": "---",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "−": "$-$",
    "“": "``",
    "”": "''",
}
ESCAPES = str.maketrans(SPECIAL)


def document(parts: Mapping[str, tuple[Iterable[Any], list[Column]]]) -> str:
    """Heading -> (rows, columns) as one tabular each, to be put in with `\\input`."""
    tables = [f"% {heading}\n{tabular(rows, columns)}" for heading, (rows, columns) in parts.items()]
    return PREAMBLE + "\n" + "\n\n".join(tables) + "\n"


def tabular(rows: Iterable[Any], columns: list[Column]) -> str:
    """One tabular with the rules of booktabs; special characters are escaped."""
    shown = [c for c in columns if c.heading]
    lines = [_line(c.cell(row) for c in shown) for row in rows]
    begin = rf"\begin{{tabular}}{{{''.join('l' if c.text else 'r' for c in shown)}}}"
    head = _line(c.heading for c in shown)
    return "\n".join([begin, r"\toprule", head, r"\midrule", *lines, r"\bottomrule", r"\end{tabular}"])


def _line(cells: Iterable[str]) -> str:
    return " & ".join(escape(cell) for cell in cells) + r" \\"


def escape(text: str) -> str:
    """Text in one line that LaTeX prints as it is; arrows become arrows."""
    arrows = " ".join(text.split()).translate(ESCAPES).replace("-$>$", r"$\rightarrow$")
    return arrows.encode("ascii", "replace").decode()
