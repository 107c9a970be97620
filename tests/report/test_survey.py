"""The survey's tables: our cards against its cells, one by one, with a reason for each exception."""

import csv
from pathlib import Path

import pytest

from attnbench import mechanisms
from attnbench.report.papers import cards

CATEGORIES = mechanisms.CATEGORIES[1:]
ENTRIES = [entry for category in CATEGORIES for entry in cards.entries(category)]
CELLS = [
    (entry, column)
    for entry in ENTRIES
    for column in cards.COLUMNS
    if entry.survey.get(column) and entry.card
]


@pytest.mark.parametrize(("entry", "column"), CELLS, ids=[f"{e.mechanism}-{c}" for e, c in CELLS])
def test_our_card_says_what_the_survey_says_or_there_is_a_reason(entry: cards.Entry, column: str) -> None:
    said = (entry.survey[column], entry.card[column])
    assert (column in entry.differing) == ((entry.mechanism, column) in cards.exceptions()), said


def test_every_exception_has_a_reason_and_a_cell() -> None:
    cells = {(entry.mechanism, column) for entry, column in CELLS}
    missing = {name for name, _ in cards.exceptions()} - set(mechanisms.entries())
    for (name, column), reason in cards.exceptions().items():
        assert reason
        assert (name, column) in cells or name in missing


def test_the_survey_has_these_many_rows_in_each_category() -> None:
    rows = {c: [e for e in cards.entries(c) if e.survey] for c in CATEGORIES}
    assert {c: len(found) for c, found in rows.items()} == {
        "channel": 7,
        "spatial": 9,
        "temporal": 2,
        "branch": 2,
        "channel_spatial": 10,
        "spatial_temporal": 4,
    }


def test_every_mechanism_is_a_row_once() -> None:
    names = [entry.mechanism for entry in ENTRIES]
    assert len(names) == len(set(names))
    assert set(mechanisms.entries()) - {"none"} <= set(names)


@pytest.mark.parametrize("category", CATEGORIES)
def test_each_goal_has_a_numeral_of_its_own(category: str) -> None:
    legend = cards.legend(category)
    assert len({n for n, _, _ in legend}) == len({g for _, g, _ in legend}) == len(legend)
    numerals = {n for n, _, _ in legend}
    for entry in cards.entries(category):
        assert set(entry.card.get("goals", "").split()) <= numerals


def test_spelling_is_no_difference_and_meaning_is_one() -> None:
    assert cards.plain("GAP -> 1D Convolutions") == cards.plain("global average pooling -> 1-D convolution")
    assert cards.plain("(0, 1)") != cards.plain("(-1, 1)")
    assert cards.plain("NIPS 2014") == cards.plain("NeurIPS 2014")


def test_the_facts_are_those_of_the_notes() -> None:
    """Cell by cell against the notes' copy of the survey's tables, where they lie beside the checkout."""
    notes = Path(__file__).resolve().parents[3] / "shared" / "reference" / "published.md"
    if not notes.is_file():
        pytest.skip("the notes do not lie beside this checkout")
    table = _rows(notes.read_text(encoding="utf-8").partition("## (c)")[2])
    for entry in (e for e in ENTRIES if e.survey):
        told = table[entry.method]
        for column in ("publication", "tasks", "g", "kind", "goals"):
            if entry.survey[column]:
                assert _plain(entry.survey[column]) == _plain(told[column]), (entry.method, column)


NAMES = {
    "publication": "publication",
    "tasks": "tasks",
    "g(x)": "g",
    "s/h": "kind",
    "goals": "goals",
}


def _rows(text: str) -> dict[str, dict[str, str]]:
    """Method -> column -> cell, of every table of the text that has methods."""
    found: dict[str, dict[str, str]] = {}
    heads: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|") or set(line) <= set("|- "):
            continue
        if "Method" in cells:
            heads = [cell.rstrip("†").lower() for cell in cells]
        elif "method" in heads:
            row = {NAMES.get(head, head): cell for head, cell in zip(heads, cells)}
            method = row["method"].split(" (")[0]
            found.setdefault(method, row)
    return found


def _plain(cell: str) -> str:
    """Without the notes' marks, brackets and remarks."""
    cell = {"Seg": "SSeg"}.get(cell, cell)
    for old, new in SPELLINGS:
        cell = cell.replace(old, new)
    return cards.plain("".join(c if c.isalnum() or c in "-><+." else " " for c in cell))


SPELLINGS = [
    (" (ICCV 2019†)", ""),
    (" (ICCV 2021†)", ""),
    (" (k x k window)", ""),
    (" (-> sigmoid†)", ""),
    (" (-> softmax†)", ""),
    (" (gate 1+sigmoid: (1,2)†)", ""),
    (" (range [0,inf)†)", ""),
    (" as in the survey notes; see 2.6", ""),
    ("S, H", "H"),
    (")(", " "),
    ("horizontal/vertical", "horizontal and vertical"),
    ("top-down -> bottom-up network", "top-down network -> bottom-up network"),
    ("convs", "convolutions"),
    ("1-D conv ", "1-D convolution "),
    ("1x1 conv ", "1x1 convolution "),
    ("depth-wise conv ", "depth-wise convolution "),
    ("-> conv ->", "-> convolution ->"),
]


def test_csv_files_have_their_columns() -> None:
    for name, columns in (
        ("survey.csv", ["category", "mechanism", "method", *cards.COLUMNS]),
        ("survey_exceptions.csv", ["mechanism", "column", "reason"]),
    ):
        with (cards.HERE / name).open(newline="") as file:
            rows = list(csv.reader(file))
        assert rows[0] == columns
        assert {len(row) for row in rows} == {len(columns)}
