"""Tables for papers: LaTeX with the rules of booktabs."""

from collections.abc import Iterable, Mapping
from typing import Any

from tabulate import tabulate

from attnbench.report.columns import Column

PREAMBLE = (
    "% generated from cells/ by `python -m attnbench report`; do not edit\n"
    "% needs \\usepackage{booktabs} and, for wide ones, \\resizebox or landscape pages\n"
)
SYMBOLS = {
    "Δ": r"$\Delta$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "≈": r"$\approx$",
    "±": r"$\pm$",
    "—": "---",
    "→": r"$\rightarrow$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "->": r"$\rightarrow$",
    "−": "$-$",
}


def document(parts: Mapping[str, tuple[Iterable[Any], list[Column]]]) -> str:
    """Heading -> (rows, columns) as one tabular each, to be put in with `\\input`."""
    tables = [f"% {heading}\n{tabular(rows, columns)}" for heading, (rows, columns) in parts.items()]
    return PREAMBLE + "\n" + "\n\n".join(tables) + "\n"


def tabular(rows: Iterable[Any], columns: list[Column]) -> str:
    """One tabular with the rules of booktabs; special characters are escaped."""
    shown = [c for c in columns if c.heading]
    cells = [[" ".join(c.cell(row).split()) for c in shown] for row in rows]
    aligned = ["left" if c.text else "right" for c in shown]
    headings = [c.heading for c in shown]
    text = tabulate(cells, headings, "latex_booktabs", colalign=aligned, disable_numparse=True)
    for symbol, command in SYMBOLS.items():
        text = text.replace(symbol, command)
    return text.replace("-\\ensuremath{>}", SYMBOLS["->"])
