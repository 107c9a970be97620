"""Tables for papers: LaTeX with the rules of booktabs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tabulate import DataRow, Line, TableFormat, tabulate

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
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "—": "---",
    "–": "--",
    "…": r"\ldots{}",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "○": r"$\circ$",
    "◇": r"$\diamond$",
    "²": "$^2$",
    "³": "$^3$",
    "µ": r"$\mu$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "−": "$-$",
    "“": "``",
    "”": "''",
}
ESCAPES = str.maketrans(SPECIAL)
LATIN = 0x180  # letters below it, accents included, are ones that LaTeX reads


def document(parts: Mapping[str, tuple[Iterable[Any], list[Column]]]) -> str:
    """Heading -> (rows, columns) as one tabular each, to be put in with `\\input`."""
    tables = [f"% {heading}\n{tabular(rows, columns)}" for heading, (rows, columns) in parts.items()]
    return PREAMBLE + "\n" + "\n\n".join(tables) + "\n"


def tabular(rows: Iterable[Any], columns: list[Column]) -> str:
    """One tabular with the rules of booktabs; special characters are escaped."""
    shown = [c for c in columns if c.heading]
    cells = [[escape(c.cell(row)) for c in shown] for row in rows]
    sides = ["left" if c.text else "right" for c in shown]
    heads = [escape(c.heading) for c in shown]
    return tabulate(cells, heads, BOOKTABS, colalign=sides if cells else None, disable_numparse=True)


def _begin(widths: Sequence[int], sides: Sequence[str]) -> str:
    return rf"\begin{{tabular}}{{{''.join(side[0] for side in sides)}}}" + "\n\\toprule"


# tabulate's own format of this kind would escape what is escaped already, and knows fewer characters.
BOOKTABS = TableFormat(
    lineabove=_begin,
    linebelowheader=Line(r"\midrule", "", "", ""),
    linebetweenrows=None,
    linebelow=Line("\\bottomrule\n\\end{tabular}", "", "", ""),
    headerrow=DataRow("", "&", r"\\"),
    datarow=DataRow("", "&", r"\\"),
    padding=1,
    with_header_hide=None,
)


def escape(text: str) -> str:
    """Text in one line that LaTeX prints as it is; arrows become arrows, and what it may not know `?`."""
    arrows = " ".join(text.split()).translate(ESCAPES).replace("-$>$", r"$\rightarrow$")
    return "".join(c if c.isascii() or (c.isalpha() and ord(c) < LATIN) else "?" for c in arrows)
