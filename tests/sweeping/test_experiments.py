"""Experiments are questions: files that name cells."""

import pytest

from attnbench import mechanisms, records
from attnbench.errors import UserError
from attnbench.sweeping import experiment
from tests import committed


@pytest.mark.parametrize("name", experiment.names())
def test_every_experiment_asks_a_question_and_has_cells_with_controls(name):
    loaded = experiment.load(name)
    assert loaded.question
    cells = loaded.cells()
    assert len({c.key for c in cells}) == len(cells) > 1
    controls = {(c.table, c.config.seed) for c in cells if c.mechanism == "none"}
    assert {(c.table, c.config.seed) for c in cells} == controls


def test_every_committed_record_answers_a_request_of_an_experiment():
    asked = [c.request for n in experiment.names() if n != "quick" for c in experiment.load(n).cells()]
    found, damaged = records.read(committed.results())
    assert found and not damaged
    lost = [r["key"] for r in found if r["request"] not in asked]
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
        ("grid: [", "not valid YAML"),
        ("grids: {seed: 1}", "an experiment has title, base, grid, exclude and controls"),
        ("title: x", "a grid of setting: values"),
        ("grid: {attn: ecca}", "did you mean eca"),
        ("grid: {sed: 1}", "did you mean seed"),
        ("parts: 5", "x.yaml: parts is a list"),
        ("parts: []", "parts is a list"),
        ("parts: [{grid: {seed: 1}}, 5]", "x.yaml, part 2: each part has a grid"),
        ("parts: [{grid: {seed: 1}}]\ngrid: {seed: 2}", "x.yaml: grid beside parts"),
        ("parts: [{grid: {seed: 1}}]\nbase: [task=cls]", "base beside parts"),
        ("base: [5]\ngrid: {seed: 1}", "base is a list of settings"),
        ("base: task=cls\ngrid: {seed: 1}", "base is a list of settings, .*, not task=cls"),
        ("base: null\ngrid: {seed: 1}", "base is a list of settings"),
        ("parts: [{grid: {seed: 1}, exclude: null}]", "x.yaml, part 1: exclude is a list"),
        ("grid: {attn: [none, 5]}", "x.yaml: grid: attn takes mechanisms, .*, not 5"),
        ("grid: {attn: null}", "attn takes mechanisms"),
        ("grid: {attn: [none, {reduction: 4}]}", "attn takes mechanisms, .*, not {'reduction': 4}"),
        ("grid: {attn: []}", "grid: attn has no value"),
        ("grid: {seed: []}", "grid: seed has no value"),
        ("grid: {5: 1}", "5 is not a setting"),
        (
            "grid: {attn: all}\nexclude: [{attn: chanel}]",
            "in exclude of x.yaml 'chanel': did you mean channel",
        ),
        ("grid: {attn: all}\nexclude: [{attn: [se, 5]}]", "attn takes names of mechanisms, not 5"),
    ],
)
def test_a_damaged_experiment_is_refused(tmp_path, text, said):
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=said):
        experiment.load(str(file)).cells()


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path):
    file = tmp_path / "x.yaml"
    with pytest.raises(UserError, match=r"x\.yaml: no such file"):
        experiment.load(str(file))
    file.write_bytes("# Fällt aus?\ngrid: {seed: 1}\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"x\.yaml: not text in UTF-8: byte 4"):
        experiment.load(str(file))


def test_patterns_and_words_that_stand_for_mechanisms_may_be_excluded(tmp_path):
    file = tmp_path / "x.yaml"
    excluded = '[{attn: [channel, "*(reduction=4)", "g*"]}, {attn: cbam, backbone: resnet8}]'
    file.write_text(
        f"grid: {{attn: [none, se, gc, cbam, bam, {{name: bam, reduction: 4}}]}}\nexclude: {excluded}\n"
    )
    assert [c.attn for c in experiment.load(str(file)).cells()] == ["none", "bam"]


def test_null_and_truth_mean_in_a_grid_what_they_mean_in_a_setting(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("grid: {data.train: [null, 64], hardware.compile: true}\n")
    found = [c.config for c in experiment.load(str(file)).cells()]
    assert [(c.data.train, c.hardware.compile) for c in found] == [(None, True), (64, True)]


def test_one_experiment_at_a_time():
    assert experiment.chosen(["seed=1", "experiment=quick"]) == ("quick", ["seed=1"])
    assert experiment.chosen(["seed=1"]) == (None, ["seed=1"])
    with pytest.raises(UserError, match="not quick and cifar10"):
        experiment.chosen(["experiment=quick", "experiment=cifar10"])
