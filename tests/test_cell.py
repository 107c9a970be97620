"""What makes two cells the same, and which cells compare."""

from dataclasses import dataclass, field, replace

import pytest

from attnbench.cell import Cell, mechanism_digest, settled
from attnbench.sweeping.experiment import cell


def test_label_names_only_what_differs_from_the_defaults():
    assert cell(["attn=se"]).attn == "se"
    assert cell(["attn=se", "attn.reduction=8", "attn.bias=true"]).attn == "se(reduction=8)"
    assert cell(["attn=apnb"]).attn == "apnb"
    assert cell(["attn=apnb", "attn.sizes=[1,2]"]).attn == "apnb(sizes=[1, 2])"


def test_a_controls_key_follows_the_code_of_its_candidate(monkeypatch):
    """The candidate's cost sets the control's width, so other code of the candidate is another control."""
    words = {of: ["attn=wide", f"attn.of={of}"] for of in ("cbam", "se")}
    before = {of: cell(asked).key for of, asked in words.items()}
    plain = mechanism_digest
    monkeypatch.setattr(
        "attnbench.cell.mechanism_digest", lambda name: "edited" if name == "cbam" else plain(name)
    )
    assert cell(words["cbam"]).key != before["cbam"]
    assert cell(words["se"]).key == before["se"]


@pytest.mark.parametrize(
    "same",
    [
        ["hardware.device=cpu"],
        ["data.root=elsewhere"],
        ["results=elsewhere"],
        ["track=wandb"],
        ["launch.jobs=1"],
        ["attn.reduction=16"],
        ["site=residual"],
    ],
)
def test_key_ignores_where_and_how_it_runs(same):
    assert cell(["attn=se", *same]).key == cell(["attn=se"]).key


@pytest.mark.parametrize(
    "other",
    [
        ["seed=1"],
        ["recipe.optimizer.lr=0.3"],
        ["data.split_seed=1"],
        ["attn.reduction=8"],
        ["backbone=resnet20"],
        ["site=stage"],
    ],
)
def test_key_changes_with_all_that_changes_a_number(other):
    assert cell(["attn=se", *other]).key != cell(["attn=se"]).key


def test_a_table_holds_mechanisms_sites_and_seeds_of_one_protocol():
    one = cell(["attn=se"])
    assert cell(["attn=none", "seed=3", "site=stage"]).table == one.table
    assert cell(["attn=se", "recipe.epochs=5"]).table != one.table


def test_accuracies_compare_however_cost_was_measured_and_costs_do_not():
    assert cell(["cost.rounds=5"]).table == cell([]).table
    assert cell(["cost.rounds=5"]).key != cell([]).key
    profile = ["task=profile", "recipe=none"]
    assert cell([*profile, "cost.batch=8"]).table != cell(profile).table


def test_a_new_setting_leaves_old_cells_what_they_were():
    @dataclass
    class Before:
        lr: float = 0.1

    @dataclass
    class After(Before):
        clip: float = field(default=1.0, metadata={"neutral": 0.0})

    assert settled(After(clip=0.0)) == settled(Before())
    assert settled(After()) == {"lr": 0.1, "clip": 1.0}


def test_control_is_one_cell_whatever_site_is_asked_for():
    assert cell(["attn=none", "site=stage"]).key == cell(["attn=none"]).key


def test_resolved_site_is_the_one_on_the_card():
    assert cell(["attn=se"]).site == "residual"


def test_what_reads_one_map_passes_over_the_place_of_all_frames():
    assert cell(["task=clip", "attn=danet"]).site == "stage"
    assert cell(["task=clip", "attn=gltr"]).site == "head"
    assert cell(["task=seg", "attn=danet"]).site == "head"


def test_a_site_that_the_backbone_lacks_is_impossible_and_says_what_there_is():
    config = cell(["attn=se", "site=residual"]).config
    bare = replace(config, backbone=replace(config.backbone, sites={"stage": config.backbone.sites["stage"]}))
    assert Cell(bare).impossible == "resnet8 has no site 'residual' (it has: stage)"


def test_attention_that_is_put_into_the_backbone_is_part_of_what_it_is(monkeypatch: pytest.MonkeyPatch):
    words = ["task=seg", "backbone=spnet50", "attn=mpm"]
    one = cell(words)
    elsewhere = cell([*words, "backbone.contains_at.after=[layer4.*.act2]"])
    assert len({one.key, elsewhere.key}) == len({one.table, elsewhere.table}) == 2
    monkeypatch.setattr("attnbench.cell.mechanism_digest", lambda name: f"{name}, rewritten")
    changed = cell(words)
    assert len({one.key, changed.key}) == len({one.table, changed.table}) == 2


def test_record_holds_no_path_of_this_machine():
    record = cell(["attn=se", "data.root=/a/private/folder", "results=/another"]).record("done")
    assert "/a" not in str(record)


def test_a_cell_is_the_same_under_another_name_of_its_recipe_and_its_task():
    one = cell(["attn=se"])
    renamed = replace(one.config, recipe=replace(one.config.recipe, name="mine"))
    assert Cell(renamed).key == one.key
    assert Cell(renamed).table == one.table


def test_a_record_holds_the_words_that_asked_for_it_without_where_it_ran():
    words = [
        "attn=se",
        "attn.reduction=8",
        "data.root=/a/folder",
        "hardware.device=cpu",
        "results=r",
        "seed=3",
    ]
    assert cell(words).record("done")["request"] == ["attn=se", "attn.reduction=8", "seed=3"]


def test_tables_part_where_the_code_that_their_cells_share_differs(monkeypatch: pytest.MonkeyPatch):
    def found() -> list[tuple[str, str]]:
        return [(each.table, each.key) for each in (cell(["attn=se"]), cell(["attn=none"]))]

    (table, key), (control_table, control_key) = found()
    monkeypatch.setattr("attnbench.cell.code", lambda *parts: {"backbone": "rewritten"})
    (other, other_key), (other_control, other_control_key) = found()
    assert table == control_table != other == other_control
    assert len({key, control_key, other_key, other_control_key}) == 4
