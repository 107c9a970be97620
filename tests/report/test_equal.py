"""Rows beside their controls of equal cost, and the two counters beside each other."""

from typing import Any

import pytest

from attnbench.report.tables import columns, notes
from attnbench.report.tables.metrics import headline
from attnbench.report.tables.sections import of_csv, sections
from attnbench.report.tables.table import tables
from tests.factories import CATEGORY, record

CATEGORY |= {"wide": "control", "deep": "control"}
SE = {"name": "se", "reduction": 16, "bias": True}


def cells(attn: str, scores: list[float], settings: dict[str, Any]) -> list[dict[str, Any]]:
    found = [record(attn, seed, score) for seed, score in enumerate(scores)]
    return [{**one, "config": {**one["config"], "attn": settings}} for one in found]


def wide(of: str, scores: list[float], by: str = "macs", name: str = "wide") -> list[dict[str, Any]]:
    return cells(f"{name}(by={by}, of={of})", scores, {"name": name, "of": of, "by": by})


NONE = cells("none", [60.0, 61, 62, 63, 64], {"name": "none"})
ATTENTION = cells("se", [62.0, 63.5, 64, 65, 66.5], SE)


def only(found: list[dict[str, Any]], attn: str) -> Any:
    (table,) = tables(found)
    return table, next(row for row in table.rows if row.attn == attn)


def test_a_row_is_paired_by_seed_with_the_backbone_as_costly():
    table, row = only([*NONE, *ATTENTION, *wide("se", [61.0, 62.1, 63, 63.9, 65])], "se")
    assert (
        row.equal["macs"].mean == pytest.approx(1.2)
        and row.equal["macs"].pairs == 5
        and row.equal["macs"].low > 0
    )
    column = columns.compared_equal(headline("cls"), "macs")
    assert column.heading == "Δ top-1 vs. equal MACs (pp) [95 %]"
    assert column.cell(row).startswith("+1.20 [")
    assert column.keys in [c.keys for c in sections(table)["Verdicts"]]
    assert [c.of(table.control)[0] for c in of_csv(table) if c.keys == column.keys] == [None]


@pytest.mark.parametrize(
    "others",
    [
        wide("cbam", [61.0] * 5),
        wide("'se(reduction=8)'", [61.0] * 5),
        wide("se(reduction=8)", [61.0] * 5),
        wide("se", [61.0] * 5, by="params"),
        wide("a mechanism of another version", [61.0] * 5),
        [{**r, "cell": {**r["cell"], "site": "stage"}} for r in wide("se", [61.0] * 5)],
    ],
)
def test_a_control_of_another_mechanism_or_cost_or_site_is_not_compared(others):
    table, row = only([*NONE, *ATTENTION, *others], "se")
    assert "macs" not in row.equal
    assert columns.compared_equal(headline("cls"), "macs").keys not in [
        c.keys for c in sections(table)["Verdicts"]
    ]


def test_the_wider_control_comes_before_the_deeper_one():
    deep = wide("se", [50.0] * 5, name="deep")
    _, row = only([*NONE, *ATTENTION, *deep], "se")
    assert row.equal["macs"].mean > 10
    _, row = only([*NONE, *ATTENTION, *deep, *wide("se(reduction=16)", [61.0, 62.1, 63, 63.9, 65])], "se")
    assert row.equal["macs"].mean == pytest.approx(1.2)


def test_a_control_with_as_many_parameters_has_a_column_of_its_own():
    table, row = only([*NONE, *ATTENTION, *wide("se", [61.0, 62.1, 63, 63.9, 65], by="params")], "se")
    assert row.equal["params"].mean == pytest.approx(1.2)
    headings = [c.heading for c in sections(table)["Verdicts"]]
    assert "Δ top-1 vs. equal parameters (pp) [95 %]" in headings
    assert not any("equal MACs" in heading for heading in headings)


def test_micro_batches_that_batch_norm_sees_are_not_paired_with_the_control_of_equal_cost():
    batch = {"name": "short", "epochs": 3, "batch_size": 128}
    found = [*NONE, *ATTENTION, *wide("se", [61.0, 62.1, 63, 63.9, 65])]
    made = [{**one, "config": {**one["config"], "recipe": batch}} for one in found]
    last = {**made[-1], "provenance": {**made[-1]["provenance"], "micro_batch": 16}}
    _, row = only([*made[:-1], last], "se")
    assert row.equal["macs"].pairs == 4


def test_controls_of_equal_cost_are_corrected_among_themselves():
    """A second row for each mechanism takes no power from the mechanisms."""
    alone = only([*NONE, *ATTENTION], "se")[1].effect
    table, row = only([*NONE, *ATTENTION, *wide("se", [61.0, 62.1, 63, 63.9, 65])], "se")
    assert row.effect.p_holm == row.effect.p == pytest.approx(alone.p, rel=0.5)
    (control,) = [r for r in table.rows if r.mechanism == "wide"]
    assert control.effect.p_holm == control.effect.p


@pytest.mark.parametrize("second, note", [(41_000_000, False), (41_040_000, False), (41_100_000, True)])
def test_a_row_says_where_the_counters_differ(second, note):
    found = [record("se", cost__macs=41_000_000, cost__macs_fvcore=second)]
    _, row = only(found, "se")
    assert columns.MACS_FVCORE.of(row)[0] == second
    said = [line for line in notes.of_row(row, None) if "fvcore" in line]
    assert said == (["seed 0: fvcore counts 0.0411 GMACs (+0.24 %)"] if note else [])
