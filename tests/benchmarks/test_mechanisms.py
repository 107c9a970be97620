"""The bench of mechanisms: what it is asked for, what a row says."""

import pytest

from attnbench.checks.case import Case
from attnbench.errors import UserError
from attnbench.mechanisms import load
from benchmarks import mechanisms, rivals
from benchmarks.plain import form

TINY = (2, 16, 6, 5)


def test_it_takes_names_or_nothing():
    assert mechanisms.chosen(["only=se,eca"]) == ["se", "eca"]
    everything = mechanisms.chosen([])
    assert {"se", "sk", "non_local", "cbam"} < set(everything) and "none" not in everything
    with pytest.raises(UserError, match="did you mean"):
        mechanisms.chosen(["only=ecca"])
    with pytest.raises(UserError, match="only=NAME"):
        mechanisms.chosen(["se"])


def test_self_attention_sees_the_map_of_a_segmentation_head_too():
    assert mechanisms.shapes("non_local")[-1] == (2, 512, 64, 64)
    assert mechanisms.shapes("se") == mechanisms.SHAPES


def test_a_row_has_times_and_memory_of_each_form(monkeypatch):
    monkeypatch.setattr(mechanisms, "SECONDS", 0.01)
    row = mechanisms.measured("se", TINY)
    assert tuple(row) == mechanisms.COLUMNS and row["shape"] == "2x16x6x5"
    for kind in mechanisms.FORMS:
        assert (
            float(row[f"{kind}_ms"]) > 0
            and float(row[f"{kind}_MiB"]) >= 3 * 2 * 16 * 6 * 5 * 4 / 2**20 - 0.05
        )
    assert row["rounds"] >= mechanisms.LEAST and float(row["plain_over_ours"]) > 0


def test_what_cannot_stand_there_has_its_reason():
    row = mechanisms.measured("san", (2, 16, 3, 9))
    assert row["verdict"].startswith("impossible: san: a map of 3x9") and row["ours_ms"] == "—"


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ({}, "alone"),
        ({"plain": 1.3, "timm": 1.2}, "faster"),
        ({"plain": 1.3, "timm": 0.99}, "equal"),
        ({"plain": 0.9, "timm": 1.5}, "slower than plain"),
        ({"plain": 0.9, "timm": 0.8}, "slower than plain and timm"),
    ],
)
def test_verdicts(ratios, said):
    assert mechanisms.verdict(ratios) == said


def test_ratios_are_those_of_rounds():
    assert mechanisms.over([2.0, 30.0, 4.0], [1.0, 10.0, 4.0]) == 2.0


@pytest.mark.parametrize("name", rivals.MODULES)
def test_timms_modules_have_our_sizes_where_they_can(name):
    """A norm's weights more or less."""
    ours = Case(load(name), {}, 256, (14, 14)).fresh()
    count, theirs = (sum(p.numel() for p in m.parameters()) for m in (ours, rivals.module(name, 256)))
    assert abs(theirs / count - 1) < 0.01
    assert form(name) is not None
