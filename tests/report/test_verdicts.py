"""What a verdict says of a row, for every task, and what a table of each task asks."""

import csv
from typing import Any

import numpy as np
import pytest

from attnbench.report.pages import leaderboard
from attnbench.report.tables.sections import question, sections
from attnbench.report.tables.table import Row, Table, tables
from attnbench.report.tables.verdicts import outcome, verdict, word
from tests.factories import record, row

HEADLINES = {
    "cls": "top1",
    "clip": "top1",
    "skeleton": "top1",
    "seg": "miou",
    "sequence": "sequence_accuracy",
    "retrieval": "rank1",
}
NOISE = (0.1, -0.1, 0.05, -0.05, 0.0, 0.08)


def pair(gain: float, seeds: int, scale: float = 1.0) -> Row:
    """SE that gains that much over its control, but for a little noise."""
    control = [record("none", s, 60.0) for s in range(seeds)]
    return row("se", *control, *(record("se", s, 60 + gain + scale * NOISE[s]) for s in range(seeds)))


@pytest.mark.parametrize(
    ("gain", "seeds", "said"),
    [
        (1.0, 5, "significant gain"),
        (-1.0, 5, "significant loss"),
        (0.01, 5, "inconclusive; a difference of 0.2 pp is excluded"),
        (1.0, 3, "exploratory (3 of 5 seeds); detecting 0.2 pp takes 4 to 23 seeds"),
    ],
)
def test_a_verdict_is_one_sentence(gain: float, seeds: int, said: str) -> None:
    assert verdict(pair(gain, seeds)) == said


@pytest.mark.parametrize(
    ("scale", "difference", "said"),
    [
        (5, 0.4, "detecting 0.4 pp takes 7 to 31 seeds"),
        (10, 0.1, "detecting 0.1 pp takes more seeds than anyone runs"),
        (10, 0.5, "seeds at least"),
        (4, 0.5, "a difference of 0.5 pp is excluded"),
    ],
)
def test_an_inconclusive_verdict_says_how_many_seeds_would_decide(
    scale: float, difference: float, said: str
) -> None:
    made = pair(0.1, 5, scale=scale)
    every = [*made.records, *made.control.records]  # type: ignore[union-attr]
    row = next(r for r in tables(every, difference)[0].rows if r.attn == "se")
    text = verdict(row)
    assert text and text.startswith("inconclusive; ") and said in text


def test_the_test_set_bounds_the_difference_that_seeds_can_decide() -> None:
    control = [record("none", s, 60.0, config__data__test=100) for s in range(5)]
    rows = [record("se", s, 60.0 + s % 2, config__data__test=100) for s in range(5)]
    (table,) = tables([*control, *rows])
    assert (table.images, table.resolution, table.difference) == (100, 1.0, 1.0)
    assert "1 pp" in (verdict(table.rows[1]) or "")


def test_a_run_that_diverged_or_collapsed_makes_its_row_unstable() -> None:
    classes = {"config__data__classes": 10}
    control = [record("none", s, 60.0, **classes) for s in range(8)]
    good = [record("se", s, 61 + NOISE[s % 5], **classes) for s in range(6)]
    diverged = record("se", 6, 10.0, status="diverged", reason="the loss is NaN", metrics=None)
    collapsed = record("se", 7, 11.0, **classes)
    one = row("se", *control, *good, diverged)
    assert (word(one), one.diverged, one.collapsed) == ("unstable", [6], [])
    assert verdict(one) == "unstable: helps where it trains: 6 of 7 seeds"
    both = row("se", *control, *good, diverged, collapsed)
    assert (both.diverged, both.collapsed) == ([6], [7])
    assert verdict(both) == "unstable: helps where it trains: 6 of 8 seeds"
    assert both.effect and both.effect.mean and both.effect.mean < 0  # the collapsed run stays in the mean
    assert word(row("se", *control, *good)) == "helps"


def test_a_collapsed_run_is_flagged_in_the_csv_and_the_notes() -> None:
    classes = {"config__data__classes": 10}
    made = [record(a, s, 60.0 + s, **classes) for a in ("none", "se") for s in range(5)]
    made.append(record("se", 5, 12.0, **classes))
    (table,) = tables(made)
    assert "| unstable" in leaderboard.markdown(table, {}).replace("◇ ", "")
    of_se = list(csv.DictReader(leaderboard.comma_separated([table]).splitlines()))[1]
    assert (of_se["seeds_trained"], of_se["seeds_collapsed"], of_se["seeds_ended"]) == ("5", "1", "6")
    assert "seed 5: collapsed: the score is nearer to chance" in leaderboard.markdown(table, {})


def test_micro_batches_that_batch_norm_sees_are_not_paired_with_full_batches() -> None:
    batch = {"config__recipe__batch_size": 128}
    control = [record("none", s, 60.0 + s, **batch) for s in range(3)]
    small = [record("se", s, 61.0 + s, provenance__micro_batch=32, **batch) for s in range(2)]
    made = row("se", *control, *small, record("se", 2, 63.0, **batch))
    assert made.effect and made.effect.pairs == 1
    assert made.control and made.apart(made.control) == [0, 1]
    from attnbench.report.tables.notes import of_row

    notes = " ".join(of_row(made, "top1"))
    assert "seeds 0, 1: trained in micro-batches of 32" in notes and "batch norm sees" in notes
    without = [
        record("se", s, 61.0 + s, provenance__micro_batch=32, provenance__batch_norm=False) for s in range(3)
    ]
    assert row("se", *control, *without).effect.pairs == 3  # type: ignore[union-attr]


def test_micro_batches_that_were_asked_for_are_noted() -> None:
    from attnbench.report.tables.notes import of_row

    made = row("se", record("se", 0, 61.0, config__hardware={"micro_batch": 8}))
    assert of_row(made, "top1") == ["seed 0: trained in micro-batches of 8"]


def test_no_verdict_without_a_pair_and_none_for_the_control() -> None:
    alone = row("se", record("se", 0, 61.0))
    assert verdict(alone) is None
    assert verdict(row("none", record("none", 0, 60.0))) is None
    one = row("se", record("none", 0, 60.0), record("se", 0, 61.0))
    assert verdict(one) == ("exploratory (1 of 5 seeds); the number of seeds to detect 0.2 pp is not known")


def test_what_is_large_but_not_holm_corrected_is_not_shown() -> None:
    control = [record("none", s, 60.0) for s in range(5)]
    rows = {f"se(reduction={r})": 0.0 for r in range(2, 30)} | {"se": 0.9}
    made = [
        record(attn, s, 60 + gain + NOISE[(s + i) % 5] * 10)
        for i, (attn, gain) in enumerate(rows.items())
        for s in range(5)
    ]
    effect = row("se", *control, *made).effect
    assert effect and effect.p and effect.p < 0.05 < (effect.p_holm or 0)
    assert outcome(effect) == "unclear"


def of_task(task: str, **test: Any) -> Table:
    """A table of that task, whose headline is 50 for the control and 51 for SE."""
    made = []
    for attn, score in (("none", 50.0), ("se", 51.0)):
        for seed in range(2):
            metrics = {HEADLINES[task]: score + seed, "loss": 1.0, **test}
            made.append(record(attn, seed, 0.0, cell__task=task, metrics={"test": metrics}))
    (table,) = tables(made)
    return table


@pytest.mark.parametrize("task", HEADLINES)
def test_each_task_is_compared_by_its_headline(task: str) -> None:
    table = of_task(task)
    assert table.metric and table.metric.key == HEADLINES[task]
    effect = table.rows[1].effect
    assert effect and effect.mean == 1.0
    assert f"Δ {table.metric.name} vs. none (pp) [95 %]" in leaderboard.markdown(table, {})
    assert table.metric.name in question(table)
    assert "\nΔ" not in leaderboard.comma_separated([table])


def test_segmentation_shows_its_classes_and_its_head() -> None:
    table = of_task("seg", iou_road=90.0, iou_sky=80.0)
    text = leaderboard.markdown(table, {})
    assert "IoU of road" in text and "IoU of sky" in text and "boundary F1" not in text
    assert "of the head" not in text
    for one in table.records:
        one["cost"] |= {"params_head": 1_000_000, "macs_head": 2_000_000_000}
        one["metrics"]["test"]["boundary_f1"] = 40.0
    text = leaderboard.markdown(tables(table.records)[0], {})
    assert "1.000" in text and "2.0000" in text and "of the head" in text and "boundary F1" in text


def test_what_a_constant_class_scores_is_told_where_it_was_measured() -> None:
    assert "constant class" not in leaderboard.markdown(of_task("seg"), {})
    page = leaderboard.markdown(of_task("seg", miou_constant=2.4412), {})
    assert "- Constant-class baseline: a constant class scores 2.44 % mIoU\n" in page


@pytest.mark.parametrize(
    "changes",
    [
        {"config__recipe": {"trains": False}},
        {"cell__task": "weighing", "config__task": {"name": "weighing", "trains": False}},
    ],
)
def test_costs_alone_are_known_by_what_the_task_says(changes: dict[str, Any]) -> None:
    (table,) = tables([record("none", 0, None, **changes), record("se", 0, None, **changes)])
    assert table.metric is None and not table.trains
    assert list(sections(table)) == ["Cost", "Speed and memory"]
    assert question(table) == "What does each attention cost in resnet50 at 224 px?"


@pytest.mark.parametrize(
    ("shape", "side"),
    [
        ([3, 224, 224], "224 px"),
        ([3, 160, 320], "160x320 px"),
        ([8, 3, 112, 112], "8 frames of 112 px"),
        ([75], ""),
    ],
)
def test_the_size_of_an_input_is_told(shape: list[int], side: str) -> None:
    (table,) = tables([record("none", 0, None, cost__input=shape)])
    assert table.side == side


def test_an_unknown_task_has_no_leaderboard() -> None:
    (table,) = tables([record("none", 0, 60.0, cell__task="juggling")])
    assert sections(table) == {}


def test_of_forty_mechanisms_that_do_nothing_none_is_shown_to_do_something() -> None:
    """One table in twenty at most, and never a verdict with fewer than five seeds."""
    rng = np.random.default_rng(0)
    wrong = 0
    for n in range(20):
        luck = rng.normal(60, 1, 5)
        made = [record("none", s, luck[s] + rng.normal()) for s in range(5)]
        made += [
            record(f"se(reduction={i})", s, luck[s] + rng.normal())
            for i in range(40)
            for s in range(5 - n % 2)
        ]
        (table,) = tables(made)
        shown = [r for r in table.rows if word(r) in ("helps", "hurts")]
        assert not shown or n % 2 == 0
        wrong += bool(shown)
    assert wrong <= 1
