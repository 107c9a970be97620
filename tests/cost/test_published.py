"""Published costs: the facts, and that ours are the same under each source's own convention."""

import pytest

from attnbench.cost.counting.operator import Call, Spec
from attnbench.cost.published import table as published
from attnbench.cost.published.conventions import Convention, parse
from attnbench.cost.published.table import Fact, equal, facts, near, our_macs, our_params
from attnbench.errors import Impossible

FACTS = facts()
EXACT = {  # totals with the 1000-way classifier: parameters, and multiply-adds (G) as v1.5
    "resnet18": (11_689_512, 1.8141),
    "resnet34": (21_797_672, 3.6638),
    "resnet50": (25_557_032, 4.0892),
    "resnet101": (44_549_160, 7.8014),
    "resnet152": (60_192_808, 11.5136),
}


@pytest.mark.parametrize("fact", FACTS, ids=str)
def test_ours_are_the_published_ones_but_for_the_exceptions(fact):
    """Parameters to the last printed digit, multiply-adds within 1 %; no exception without need."""
    if fact.missing:
        pytest.skip(f"not implemented yet: {fact.missing}")
    if fact.params:
        ours = our_params(fact)
        assert equal(fact.params, ours) != bool(fact.params_exception), (
            fact.params,
            ours,
            fact.params_exception,
        )
    if fact.macs:
        ours = our_macs(fact)
        assert near(fact.macs, ours) != bool(fact.macs_exception), (fact.macs, ours)


@pytest.mark.parametrize("backbone", EXACT)
def test_the_table_holds_the_exact_totals_of_the_plain_networks(backbone):
    params, macs = EXACT[backbone]
    plain = [
        f for f in FACTS if f.backbone == backbone and f.attn == "none" and f.source.startswith("arithmetic")
    ]
    assert {f.params for f in plain} == {f"{params / 1e6:.6f}"}
    assert f"{macs:.4f}" in {f.macs for f in plain}


def test_most_rows_agree_and_each_exception_has_a_row_that_needs_it():
    compared = [f for f in FACTS if not f.missing]
    assert len(compared) > 150
    assert sum(bool(f.params_exception) for f in compared) < 0.2 * len(compared)
    assert all(f.params for f in compared if f.params_exception)
    assert all(f.macs for f in compared if f.macs_exception)


def test_every_fact_names_its_source_and_a_convention():
    for fact in FACTS:
        assert fact.source and (fact.params or fact.macs)
        assert isinstance(parse(fact.convention), Convention)
    with pytest.raises(ValueError, match="no convention"):
        parse("thop, decimal")


def test_equal_means_to_the_last_printed_digit():
    assert equal("25.56", 25.557032) and not equal("25.55", 25.557032)
    assert near("3.86", 3.8965) and not near("3.86", 3.90)
    assert near("0.3", 0.314) and not near("0.30", 0.314)


def test_units_and_doubling():
    assert round(Convention(unit="binary").params(25_557_032), 2) == 24.37
    norm = Call("aten::batch_norm", {"input": Spec((1, 4, 2, 2))}, (Spec((1, 4, 2, 2)),))
    linear = Call(
        "aten::addmm", {"self": Spec((5,)), "mat1": Spec((1, 7)), "mat2": Spec((7, 5))}, (Spec((1, 5)),)
    )
    assert Convention("macs", "one").macs([norm, linear]) == 35
    assert Convention("macs", "one", double=True).macs([linear]) == 70
    assert Convention("fvcore", "one").macs([norm, linear]) == 32 + 35
    assert Convention("old thop", "one").macs([norm, linear]) == 64 + 5 * 13


def test_the_table_says_what_agrees_and_what_is_missing(monkeypatch):
    known = next(f for f in FACTS if f.attn == "none" and f.backbone == "resnet20")
    odd = next(f for f in FACTS if f.macs_exception and f.backbone == "resnet34")
    later = Fact(**{**vars(known), "attn": "not_yet"})
    monkeypatch.setattr(published, "facts", lambda: [known, odd, later])
    table = published.published_table()
    assert list(table["parameters agree"]) == ["yes", "yes", ""]
    assert list(table["multiply-adds agree"]) == ["yes", "no", ""]
    assert odd.macs_exception in table["note"][1]
    assert table["note"][2] == "not implemented yet: mechanism not_yet"


def test_the_table_is_written_as_markdown_and_csv(monkeypatch, tmp_path):
    known = next(f for f in FACTS if f.attn == "none" and f.backbone == "resnet20")
    monkeypatch.setattr(published, "facts", lambda: [known, Fact(**{**vars(known), "task": "det"})])
    markdown, csv = published.write(tmp_path)
    assert "parameters 1 of 1, multiply-adds 1 of 1" in markdown.read_text()
    assert "not implemented yet: task det" in markdown.read_text()
    assert csv.read_text().count("\n") == 3


def test_a_combination_without_meaning_is_a_note(monkeypatch):
    def impossible(fact):
        raise Impossible("no room")

    monkeypatch.setattr(published, "facts", lambda: FACTS[:1])
    monkeypatch.setattr(published, "our_params", impossible)
    assert published.published_table()["note"][0] == "no room"
