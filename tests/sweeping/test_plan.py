"""Plans: what is asked for, what is left out, what cannot be, and how long the rest takes."""

from collections.abc import Sequence

import pytest

from attnbench import mechanisms, records
from attnbench.cell import Cell
from attnbench.config import compose
from attnbench.config.launch import Launch
from attnbench.errors import UserError
from attnbench.records.pace import likeness
from attnbench.sweeping import experiment, words
from attnbench.sweeping.plan import Plan
from tests.factories import cells

LARGE = """
# A large question?
base: [data=scenes, recipe=quick]
grid:
  task: [cls, seg]
  seed: SEEDS
  recipe.epochs: 1
  backbone:
    [resnet8, resnet20, resnet32, resnet56, resnet110, resnet18, resnet34, resnet50, resnet101, wrn_28_10]
  attn: all
  site: paper
"""


@pytest.mark.parametrize("seeds", [2, pytest.param(9, marks=pytest.mark.slow)])  # 9: over 10,000 cells
def test_many_cells_are_planned_by_composing_once_a_table(tmp_path, monkeypatch, seeds):
    file = tmp_path / "large.yaml"
    file.write_text(LARGE.replace("SEEDS", str(list(range(seeds)))))
    for seed in range(2):
        done = experiment.cell([f"seed={seed}", "recipe.epochs=1", f"results={tmp_path}"])
        records.write(tmp_path, done.record("done", provenance={"wall_s": 1.0}))
    asked: list[Sequence[str]] = []
    composed = compose.composed
    monkeypatch.setattr(
        compose, "composed", lambda words, places: asked.append(words) or composed(words, places)
    )
    found = experiment.load(str(file)).cells([f"results={tmp_path}"])
    plan = Plan.of(found, retry=False)
    said = plan.describe(2)
    assert len(asked) == len({tuple(words) for words in asked}) == 2 * 10
    assert len(found) == 2 * seeds * 10 * len(mechanisms.entries()) > 10_000 / 9 * seeds
    assert said.startswith("2 done")


def test_words_stand_for_names_categories_and_tags():
    assert words.expand("se") == ["se"]
    assert words.expand("all") == list(mechanisms.entries())
    assert "eca" in words.expand("channel") and "cbam" not in words.expand("channel")
    assert set(words.expand("2018")) >= {"se", "cbam"} - {"eca"}
    assert "none" not in words.expand("soft")
    assert words.expand({"name": "se", "reduction": 4}) == [{"name": "se", "reduction": 4}]
    assert words.expand("nonsense") == ["nonsense"]


def ask(tmp_path, text: str, *arguments: str) -> list[Cell]:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    return experiment.load(str(file)).cells(arguments)


def test_what_is_excluded_is_no_cell(tmp_path):
    text = """
grid: {attn: [none, se, eca, cbam], backbone: [resnet8, resnet20], seed: [0, 1]}
exclude:
  - {attn: channel, backbone: resnet20}
  - {attn: cbam, seed: 1}
  - {backbone: "resnet2*", attn: none, seed: [1, 2]}
"""
    found = {(c.mechanism, c.config.backbone.name, c.config.seed) for c in ask(tmp_path, text)}
    assert found == {
        ("none", "resnet8", 0),
        ("none", "resnet8", 1),
        ("none", "resnet20", 0),
        ("se", "resnet8", 0),
        ("se", "resnet8", 1),
        ("eca", "resnet8", 0),
        ("eca", "resnet8", 1),
        ("cbam", "resnet8", 0),
        ("cbam", "resnet20", 0),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("grid: {attn: se}\nexclude: [{bakbone: x}]", "did you mean backbone"),
        ("grid: {attn: se}\nexclude: [se]", "exclude is a list of coordinate: values"),
    ],
)
def test_an_exclusion_that_says_nothing_is_refused(tmp_path, text, said):
    with pytest.raises(UserError, match=said):
        ask(tmp_path, text)


def test_arguments_are_part_of_what_a_cell_is_and_their_lists_are_axes(tmp_path):
    text = "grid: {attn: [none, {name: se, reduction: 4}]}"
    plain, other = ask(tmp_path, text), ask(tmp_path, text, "recipe.epochs=3")
    assert not {c.key for c in plain} & {c.key for c in other}
    several = ask(tmp_path, text, "seed=0,1", "recipe.epochs=1,2")
    assert len(several) == 8
    replaced = ask(tmp_path, text, "attn=eca")
    assert [c.attn for c in replaced] == ["eca"]
    assert {c.mechanism for c in ask(tmp_path, text, "attn=channel")} == set(words.expand("channel"))


def test_the_plan_says_what_is_impossible_and_why_and_records_it_without_running(tmp_path):
    asked = [
        experiment.cell([f"attn={name}", f"results={tmp_path}", "site=paper", "backbone=resnet8"])
        for name in ("none", "se", "stn")
    ]
    impossible = [c for c in asked if c.impossible]
    plan = Plan.of(asked, retry=False)
    assert len(plan.todo) + len(impossible) == 3
    if impossible:
        assert f"{len(impossible)} impossible ({impossible[0].impossible})" in plan.describe(1)
    plan.settle()
    assert [r["status"] for r in records.read(tmp_path)[0]] == ["skipped"] * len(impossible)


def test_time_is_expected_by_the_closest_likeness(tmp_path):
    wanted = cells(tmp_path, attn=("none", "se", "simam"))
    for cell, seconds in zip(wanted, (10.0, 30.0)):
        records.write(tmp_path, cell.record("done", provenance={"wall_s": seconds}))
    plan = Plan.of(wanted, retry=False)
    assert plan.pace.expect(likeness(wanted[0])) == 10
    assert plan.pace.expect(likeness(wanted[1])) == 30
    other = cells(tmp_path, "recipe.epochs=3", attn=("se",))[0]
    assert 10 < (plan.pace.expect(likeness(wanted[2])) or 0) < 30
    assert plan.pace.expect(likeness(other)) == 30  # the same mechanism in another table of these names
    unlike = cells(tmp_path, "backbone=resnet20", attn=("se",))[0]
    assert plan.pace.expect(likeness(unlike)) is None
    assert "and 1 cell of unknown length" in Plan.of([wanted[2], unlike], retry=False).describe(1)


def test_a_site_that_only_some_backbones_have_makes_the_others_impossible(tmp_path):
    text = "grid: {attn: [none, se], backbone: [resnet8, vit_tiny_patch16_224], site: [conv], task: profile}"
    found = ask(tmp_path, text, "recipe=none")
    assert {c.config.backbone.name: bool(c.impossible) for c in found if c.mechanism == "se"} == {
        "resnet8": False,
        "vit_tiny_patch16_224": True,
    }
    with pytest.raises(UserError, match="did you mean conv"):
        ask(tmp_path, text.replace("[conv]", "[convv]"), "recipe=none")


@pytest.mark.parametrize("more", [[], ["++backbone.args.drop_rate=0.1"]])
@pytest.mark.parametrize("task", ["cls", "seg"])
def test_so_it_is_whatever_the_task_and_settings_of_the_builder(task, more):
    words = [f"task={task}", "backbone=resnet18,resnet50", "site=bottleneck", "attn=spm", *more]
    found = experiment.grid(words)
    assert [bool(c.impossible) for c in found] == [True, False]


def test_failed_cells_are_planned_again_only_where_that_is_asked_for(tmp_path):
    cell = cells(tmp_path)[0]
    records.write(tmp_path, cell.record("failed", "x"))
    assert Plan.of([cell], retry=False).todo == []
    plan = Plan.of([cell], retry=True)
    assert plan.todo == [cell]
    assert plan.seen == {cell.key: records.stamp(tmp_path, cell.key)}
    assert Launch().retry is False
