"""The survey's own columns, filled in from our cards, and where they differ from the survey's cells.

`survey.csv` has the cells of the tables of Guo et al. 2022, empty where a table does not have the column;
`survey_exceptions.csv` has a reason for each cell in which our card says something else.
"""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from attnbench import mechanisms

HERE = Path(__file__).parent
COLUMNS = ("publication", "tasks", "g", "range", "kind", "goals")  # those that are compared
ONES = ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")
NUMERALS = [ten + one for ten in ("", "X", "XX", "XXX") for one in ONES][1:]

LEGEND: Mapping[str, tuple[str, ...]] = {  # the survey's goals, by its numerals
    "channel": ("emphasise important channels", "capture global information"),
    "spatial": (
        "focus on discriminative regions",
        "avoid excessive computation for large inputs",
        "be more invariant to transformations",
        "capture long-range dependencies",
        "denoise the input feature map",
        "adaptively aggregate neighbourhood information",
        "reduce inductive bias",
    ),
    "temporal": (
        "exploit multi-scale short-term context",
        "capture long-term temporal dependency",
        "capture local temporal context",
    ),
    "branch": (
        "of a row that is missing in our copy of the survey",
        "dynamically fuse different branches",
        "adaptively select a suitable receptive field",
        "dynamically fuse different convolution kernels",
    ),
    "channel_spatial": (
        "focus on discriminative regions",
        "emphasise important channels",
        "capture long-range information",
        "capture cross-domain interaction between any two domains",
    ),
    "spatial_temporal": (),
}
SAME_GOAL = {  # a card's words -> the legend's
    "capture long-range dependence": ("capture long-range dependencies", "capture long-range information"),
    "capture long-range dependence along rows and columns": ("capture long-range information",),
    "emphasise important positions": ("focus on discriminative regions",),
    "select the important region": ("focus on discriminative regions",),
    "suppress regions that the gating signal finds unimportant": ("focus on discriminative regions",),
    "be invariant to translation, scale and rotation": ("be more invariant to transformations",),
    "attend to deformed neighbourhoods": ("be more invariant to transformations",),
    "gather global information": ("capture long-range information",),
    "let channels and positions interact": ("capture cross-domain interaction between any two domains",),
    "emphasise important positions and channels": (
        "focus on discriminative regions",
        "emphasise important channels",
    ),
    "emphasise important channels and positions": ("focus on discriminative regions",),
    "replace convolution by local self-attention": ("adaptively aggregate neighbourhood information",),
    "replace convolution by local relations": ("adaptively aggregate neighbourhood information",),
}


@dataclass(frozen=True)
class Entry:
    """One row of a survey table: a mechanism of ours, the survey's cells if it has any, our card's."""

    mechanism: str
    category: str
    method: str
    survey: Mapping[str, str]  # column -> cell; empty where it is no row of the survey's
    card: Mapping[str, str]  # column -> cell; empty where there is no such mechanism yet

    @property
    def differing(self) -> list[str]:
        """The columns in which the card says something else than the survey's table."""
        if not self.card:
            return []
        written = [c for c in COLUMNS if self.survey.get(c)]
        return [c for c in written if plain(self.survey[c]) != plain(self.card[c])]


def entries(category: str) -> list[Entry]:
    """A category's rows: the survey's in its order, then ours that its table does not have, by name."""
    rows = {row["mechanism"]: row for row in _read("survey.csv") if row["category"] == category}
    ours = {name: e for name, e in mechanisms.entries().items() if e.category == category}
    found = [
        Entry(name, category, row["method"], row, _card(ours[name]) if name in ours else {})
        for name, row in rows.items()
    ]
    others = [Entry(n, category, _short(e), {}, _card(e)) for n, e in ours.items() if n not in rows]
    return found + others


def exceptions() -> dict[tuple[str, str], str]:
    """(mechanism, column) -> why the card says something else than the survey."""
    return {(row["mechanism"], row["column"]): row["reason"] for row in _read("survey_exceptions.csv")}


def legend(category: str) -> list[tuple[str, str, bool]]:
    """Numeral, goal and whether the survey has it: the survey's goals, then those of our cards alone."""
    own = LEGEND[category]
    cards = [e.card for e in mechanisms.entries().values() if e.category == category]
    extra = dict.fromkeys(g for card in cards for goal in card["goals"] for g in _goals(category, goal))
    every = [*own, *(goal for goal in extra if goal not in own)]
    return [(NUMERALS[i], goal, i < len(own)) for i, goal in enumerate(every)]


def plain(cell: str) -> str:
    """A cell without what is a matter of spelling: capitals, abbreviations, singular and plural."""
    text = cell.lower()
    for pattern, written in SPELLINGS:
        text = re.sub(pattern, written, text)
    return " ".join(text.split())


SPELLINGS = [
    (r"\bnips\b", "neurips"),
    (r"\bcaptioning\b", "icap"),
    (r"\bgap\b|global spatial average pooling|spatial gap", "global average pooling"),
    (r"spatial global average pooling", "global average pooling"),
    (r"\b1-?d\b", "1-d"),
    (r"convolutions\b", "convolution"),
    (r"\b(query|queries) and keys?\b", "query and key"),
    (r"\bover time\b", "in time"),
]


def _card(entry: mechanisms.Entry) -> dict[str, str]:
    card = entry.card
    numerals = {goal: numeral for numeral, goal, _ in legend(entry.category)}
    goals = {numerals[g] for goal in card["goals"] for g in _goals(entry.category, goal)}
    bounds = card["range"]
    return {
        "publication": card["venue"],
        "tasks": " ".join(card["tasks"]),
        "g": card["g"],
        "range": "" if bounds is None else f"({bounds[0]:g}, {bounds[1]:g})",
        "kind": "S" if card["soft"] else "H",
        "goals": " ".join(sorted(goals, key=NUMERALS.index)),
    }


def _goals(category: str, goal: str) -> list[str]:
    """A card's goal in the legend's words where it has them, else as it is."""
    if goal in LEGEND[category]:
        return [goal]
    return [same for same in SAME_GOAL.get(goal, ()) if same in LEGEND[category]] or [goal]


def _short(entry: mechanisms.Entry) -> str:
    """A method's name as its file's first line gives it, before the colon."""
    return entry.summary.partition(":")[0]


@cache
def _read(name: str) -> list[dict[str, Any]]:
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
