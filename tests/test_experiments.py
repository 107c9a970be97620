"""Experiments are questions: files that name cells."""

from pathlib import Path

import pytest

from attnbench import mechanisms, records
from attnbench.errors import UserError
from attnbench.sweep import experiment


@pytest.mark.parametrize("name", experiment.names())
def test_every_experiment_asks_a_question_and_has_cells_with_controls(name):
    loaded = experiment.load(name)
    assert loaded.question
    cells = loaded.cells()
    assert len({c.key for c in cells}) == len(cells) > 1
    controls = {(c.table, c.config.seed) for c in cells if c.mechanism == "none"}
    assert {(c.table, c.config.seed) for c in cells} == controls


def test_every_committed_record_is_a_cell_of_an_experiment():
    def place(cell, table):
        return table, cell["attn"], cell["site"], cell["seed"]

    asked = [c for n in experiment.names() if n != "quick" for c in experiment.load(n).cells()]
    known = {place(c.coordinates(), c.table) for c in asked}
    results = Path(__file__).parents[1] / "results"
    found, damaged = records.read(results)
    assert found and not damaged
    lost = [r["key"] for r in found if place(r["cell"], r["table"]) not in known]
    assert lost == []


def test_all_stands_for_every_mechanism_and_a_category_for_its_own(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("# Q?\ngrid: {attn: [none, channel, {name: se, reduction: 4}]}\n")
    found = [c.attn for c in experiment.load(str(file)).cells()]
    channel = [e.name for e in mechanisms.entries().values() if e.category == "channel"]
    assert found == ["none", *channel, "se(reduction=4)"]
    file.write_text("grid: {attn: all}\n")
    assert len(experiment.load(str(file)).cells()) == len(mechanisms.entries())


def test_controls_come_first_and_arguments_override_parts():
    cells = experiment.load("cifar10").cells(["seed=7"])
    assert [c.attn for c in cells] == ["none", "se", "eca"]
    assert {c.config.seed for c in cells} == {7}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("grid: [", "is no YAML"),
        ("grids: {seed: 1}", "an experiment has title, base, grid and exclude"),
        ("title: x", "a grid of setting: values"),
        ("grid: {attn: ecca}", "did you mean eca"),
        ("grid: {sed: 1}", "did you mean seed"),
    ],
)
def test_a_damaged_experiment_is_refused(tmp_path, text, said):
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=said):
        experiment.load(str(file)).cells()
