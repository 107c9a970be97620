"""The commands that `compare` and `recommend` print make the cells meant, parsed as the command line does."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attnbench.cell import Cell
from attnbench.config import load as compose
from attnbench.report.query import commands
from attnbench.report.query.compare import compare
from attnbench.report.query.recommend import recommend
from attnbench.sweeping import experiment
from tests import committed
from tests.factories import put

RECORDS = committed.results()
STORED = [json.loads(file.read_text()) for file in sorted((RECORDS / "cells").glob("*.json"))]


def printed(verb: Any, words: str, results: Path = RECORDS) -> list[list[str]]:
    """The words of each command, without those on folders."""
    told = "\n".join(verb([*words.split(), f"results={results}"], compose.unchecked))
    lines = [line for line in told.splitlines() if "attnbench -m " in line]
    return [
        [w for w in shlex.split(line)[4:] if not w.startswith(("data.root", "results"))] for line in lines
    ]


def made(words: Sequence[str]) -> list[Cell]:
    return experiment.grid(list(words))


def about(**names: str) -> list[dict[str, Any]]:
    """The stored records with those names."""
    return [r for r in STORED if all(r["cell"][key] == name for key, name in names.items())]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("data=camvid", {"data": "camvid"}),
        ("data=sbu", {"data": "sbu"}),
        ("data=mnist", {"data": "mnist"}),
        ("data=cifar10 attn=gc", {"data": "cifar10"}),
    ],
)
def test_the_cells_that_are_missing_would_stand_in_the_tables_of_the_records(
    words: str, names: dict[str, str]
) -> None:
    there = about(**names)
    tables, rows = {r["table"] for r in there}, {(r["cell"]["attn"], r["cell"]["site"]) for r in there}
    cells = [cell for line in printed(compare, words) for cell in made(line)]
    assert cells and {cell.table for cell in cells} <= tables
    assert not any(cell.impossible for cell in cells)
    assert not {cell.key for cell in cells} & {r["key"] for r in there}  # none is asked for that is done
    told = {(c.coordinates()["attn"], c.coordinates()["site"]) for c in cells}
    assert told <= rows | {("gc", "deep")}


def test_every_table_of_networks_that_were_trained_is_reached_with_all_its_folds() -> None:
    for data in ("camvid", "sbu", "mnist"):
        reached = {cell.table for line in printed(compare, f"data={data}") for cell in made(line)}
        every = {r["table"] for r in about(data=data) if r["metrics"]}
        full = {t for t in every if all(_seeds(t, a) >= 5 for a in {r["cell"]["attn"] for r in _of(t)})}
        assert reached == every - full, data


def _of(table: str) -> list[dict[str, Any]]:
    return [r for r in STORED if r["table"] == table]


def _seeds(table: str, attn: str) -> int:
    return sum(r["cell"]["attn"] == attn for r in _of(table))


def test_what_recommend_would_try_stands_in_the_table_and_is_possible() -> None:
    lines = printed(recommend, "backbone=resnet18 data=camvid")
    cells = [cell for line in lines for cell in made(line)]
    assert {cell.table for cell in cells} == {r["table"] for r in about(data="camvid")}
    assert not any(cell.impossible for cell in cells)


@pytest.mark.parametrize(
    ("words", "task"),
    [
        ("backbone=resnet50 data=camvid", "seg"),
        ("backbone=resnet50 data=mars", "retrieval"),
        ("backbone=resnet50 data=svhn", "sequence"),
        ("backbone=resnet50", "cls"),
        ("backbone=lstm data=scenes", "skeleton"),
    ],
)
def test_a_task_is_taken_that_data_and_backbone_can_be_used_for(words: str, task: str) -> None:
    (line,) = printed(recommend, f"{words} attn=none")
    cells = made(line)
    assert {cell.config.task.name for cell in cells} == {task}


def test_where_no_task_fits_the_reason_is_given() -> None:
    told = "\n".join(recommend(["backbone=lstm", "data=cifar10", f"results={RECORDS}"], compose.unchecked))
    assert "No cell of that kind can be run: task=cls hands over images, and backbone=lstm takes" in told


def record(cell: Cell, top1: float = 60.0) -> dict[str, Any]:
    """What a run of the cell would have written."""
    return {"schema": 1, **cell.record("done", metrics={"test": {"top1": top1}}, cost={}, provenance={})}


def test_each_variant_of_a_mechanism_has_its_command_at_its_site(tmp_path: Path) -> None:
    base = ["backbone=resnet20", "data=cifar10", "recipe=short"]
    variants = [["attn=se", "attn.reduction=8"], ["attn=se", "attn.reduction=4"], ["attn=se", "site=conv"]]
    cells = [experiment.cell([*base, *more]) for more in ([], ["attn=se"], *variants)]
    put(tmp_path, *(json.loads(json.dumps(record(c), default=str)) for c in cells))
    lines = printed(compare, "backbone=resnet20", tmp_path)
    assert sum("none" in next(w for w in line if w.startswith("attn=")) for line in lines) == 1
    missing = [c for line in lines for c in made(line)]
    assert len(missing) == 4 * len(cells)
    assert {(c.attn, c.site) for c in missing if c.mechanism != "none"} == {
        (c.attn, c.site) for c in cells if c.mechanism != "none"
    }
    assert {c.table for c in missing} == {cells[0].table}


def test_a_row_of_another_table_can_be_asked_for_with_its_options(tmp_path: Path) -> None:
    base = ["backbone=resnet20", "data=cifar10"]
    cells = [
        experiment.cell([*base, "recipe=short"]),
        experiment.cell([*base, "recipe=cifar", "attn=se", "attn.reduction=8"]),
    ]
    put(tmp_path, *(json.loads(json.dumps(record(c), default=str)) for c in cells))
    told = [c for line in printed(compare, "recipe=short attn=se(reduction=8)", tmp_path) for c in made(line)]
    assert {c.attn for c in told} == {"none", "se(reduction=8)"} and {c.table for c in told} == {
        cells[0].table
    }


def test_a_site_that_the_network_lacks_is_told_and_not_asked_for(tmp_path: Path) -> None:
    put(tmp_path, json.loads(json.dumps(record(experiment.cell(["backbone=resnet20"])), default=str)))
    told = "\n".join(compare(["attn=sta_lstm", f"results={tmp_path}"], compose.unchecked))
    assert "sta_lstm cannot be run: resnet20 has no site 'network'" in told
    assert all("sta_lstm" not in line for line in told.splitlines() if "attnbench -m" in line)


def test_cells_of_changed_code_are_said_to_make_another_table(tmp_path: Path) -> None:
    old = json.loads(json.dumps(record(experiment.cell(["backbone=resnet20"])), default=str))
    put(tmp_path / "now", old)
    put(tmp_path / "old", {**old, "table": "0123456789ab"})
    now, then = (
        "\n".join(compare(["attn=se", f"results={tmp_path / name}"], compose.unchecked))
        for name in ("now", "old")
    )
    assert commands.OTHERWISE not in now and commands.OTHERWISE in then


def test_a_setting_that_no_longer_is_one_is_told(tmp_path: Path) -> None:
    old = json.loads(json.dumps(record(experiment.cell(["backbone=resnet20"])), default=str))
    old["request"].append("recipe.precision=fp8")
    told = "\n".join(compare(["attn=se", f"results={put(tmp_path, old)}"], compose.unchecked))
    assert f"{commands.OTHERWISE}: " in told and "fp8" in told


def test_data_that_are_read_from_a_folder_need_it_and_records_elsewhere_are_named(tmp_path: Path) -> None:
    for data, root in (("cifar10", True), ("scenes", False)):
        results = tmp_path / data
        cell = experiment.cell(["backbone=resnet20", f"data={data}"])
        put(results, json.loads(json.dumps(record(cell), default=str)))
        told = "\n".join(compare(["attn=se", f"results={results}"], compose.unchecked))
        lines = [line for line in told.splitlines() if "attnbench -m" in line]
        assert lines and all(("data.root=FOLDER" in line) is root for line in lines)
        assert all(line.endswith(f" results={results}") for line in lines)


def test_costs_need_no_data(tmp_path: Path) -> None:
    put(tmp_path, json.loads(json.dumps(record(experiment.cell(["backbone=resnet20"])), default=str)))
    words = ["task=seg", "recipe=none", "data=camvid", "backbone=resnet18", f"results={tmp_path}"]
    told = "\n".join(compare(words, compose.unchecked))
    assert "task=seg" in told and "recipe=none" in told and "data.root" not in told


@pytest.mark.parametrize(
    "words",
    [
        ["data=camvid", "task=seg", "task.options.scales=[0.5,1.0]", "task.options.class_weights=null"],
        ["task=seg_unet", "data=camvid", "task.options.auxiliary=0.5"],
        ["backbone.args.depth=14", "++backbone.args.more='a b, c'"],
        ["++backbone.args.word='null'", "++backbone.args.nested={a:1,b:[x,y]}"],
        ["data=imagefolder", "data.classes=7", "data.name=mine", "data.size=64"],
        ["recipe=adamw", "recipe.name=longer", "recipe.epochs=9", "recipe.schedule.milestones=[0.5,2]"],
        ["task=skeleton", "data=sbu", "backbone=lstm", "~data.options.val_share"],
        ["recipe.precision=bf16", "recipe.optimizer.lr=1e-05"],
    ],
)
def test_whatever_was_set_is_found_again_from_the_record(tmp_path: Path, words: list[str]) -> None:
    cell = Cell(replace(compose.unchecked(*words), request=list(words)))
    stored = json.loads(json.dumps(record(cell), default=str))
    metric = {"seg": "miou"}.get(cell.config.task.name, "top1")
    stored["metrics"] = {"test": {metric: 50.0}}
    lines = printed(compare, "", put(tmp_path, stored))
    (line,) = lines
    point = [w for w in line if not w.startswith("seed=")]
    assert Cell(compose.unchecked(*point)).table == cell.table


def test_records_without_a_request_are_asked_for_by_their_names_with_a_remark(tmp_path: Path) -> None:
    old = json.loads(json.dumps(record(experiment.cell(["backbone=resnet20"])), default=str))
    del old["request"]
    told = "\n".join(compare(["attn=se", f"results={put(tmp_path, old)}"], compose.unchecked))
    assert commands.UNASKED in told and "backbone=resnet20" in told


def test_words_under_their_former_names_are_repeated_under_the_present_ones() -> None:
    asked = ["task=seg_profile", "data=cityscapes", "recipe=none", "site=head", "cost.input=512", "attn=gc"]
    assert list(commands.shared(asked)) == ["task=seg", "recipe=none", "data=cityscapes", "cost.input=512"]
    own = ["attn.ratio=4", "++attn.x=1", "seed=3", "hardware.device=cpu", "recipe.epochs=2"]
    assert list(commands.shared(own)) == ["recipe.epochs=2"]
