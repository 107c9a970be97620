"""Cells, sweeps and questions to the records, from Python."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import attnbench
from attnbench import UserError

WORDS = (
    "recipe.epochs=1",
    "cost.latency=false",
    "cost.memory=false",
    "data.train=64",
    "data.val=32",
    "data.test=32",
)


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("cells")
    return {"results": folder / "results", "runs": folder / "runs"}


def test_a_cell_runs_once_and_its_record_fits_a_line(where: dict[str, Any]) -> None:
    record = attnbench.run(*WORDS, attn="se", seed=1, **where)
    assert record.status == "done" and record.metrics["top1"] is not None
    assert record["cell"]["attn"] == "se" and record["request"][-2:] == ["attn=se", "seed=1"]
    assert repr(record).startswith("<cls scenes resnet8 se, seed 1: done, ") and "\n" not in repr(record)
    again = attnbench.run(*WORDS, attn="se", seed=1, **where)
    assert again["provenance"] == record["provenance"]


def test_a_configuration_is_run_as_the_words_are(where: dict[str, Any]) -> None:
    config = attnbench.configure(*WORDS, attn="se", seed=1, **where)
    assert repr(config).startswith("Config(task=cls, data=scenes, backbone=resnet8")
    assert attnbench.run(config).key == attnbench.run(*WORDS, attn="se", seed=1, **where).key
    other = attnbench.run(replace(config, seed=0))
    assert other["cell"]["seed"] == 0 and other["request"] == []
    with pytest.raises(UserError, match="a Config has all settings"):
        attnbench.run(config, seed=2)
    with pytest.raises(UserError, match="must be 0 or more"):
        attnbench.run(replace(config, seed=-1))


def test_a_sweep_gives_a_row_a_cell_and_its_records_answer(where: dict[str, Any]) -> None:
    frame = attnbench.sweep(*WORDS, attn=["none", "se"], seed=range(2), launch="inline", **where)
    assert list(zip(frame["attn"], frame["seed"])) == [("none", 0), ("none", 1), ("se", 0), ("se", 1)]
    assert set(frame["status"]) == {"done"}
    assert set(attnbench.load_results(where["results"])["key"]) == set(frame["key"])
    answer = attnbench.compare("se", results=where["results"], backbone="resnet8")
    assert list(answer["attn"]) == ["none", "se"] and answer["verdict"][1] == "exploratory"
    assert answer["delta_points"].notna().tolist() == [False, True]
    with pytest.raises(UserError, match="no record answers attn=eca; there are: cls · scenes"):
        attnbench.compare("eca", results=where["results"])


def test_a_recommendation_is_a_frame_and_a_sentence(where: dict[str, Any]) -> None:
    frame = attnbench.recommend("resnet8", results=where["results"], max_params="+50%")
    assert list(frame["limits"]) == ["within"] and list(frame["attn"]) == ["se"]
    (advice,) = frame.attrs["advice"].values()
    assert advice.startswith("No advice yet")
    assert attnbench.recommend("resnet8", results=where["results"], max_params="+0.001%").empty


@pytest.mark.parametrize(
    ("words", "settings", "message"),
    [
        ((), {"attn": "sse"}, "unknown mechanism 'sse': did you mean"),
        ((), {"backbon": "resnet8"}, "unknown setting 'backbon': did you mean backbone"),
        (("attn.reduction=0",), {"attn": "se"}, r"attn\.reduction=0: must be 1 or more"),
        ((3,), {}, "3: give settings as words, 'attn=se', or keywords, attn='se'"),
        ((), {"attn": "se", "site": "network"}, "unknown site of backbone resnet8 'network'"),
        ((), {"data": "cifar10"}, r"needs data\.root=FOLDER"),
    ],
)
def test_wrong_settings_are_refused(words: Any, settings: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        attnbench.run(*words, **settings, results=tmp_path, runs=tmp_path)
    assert not list(tmp_path.rglob("*.json"))


def test_a_sweep_of_an_experiment_is_refused_like_the_command(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown experiment 'quik': did you mean quick"):
        attnbench.sweep(experiment="quik", results=tmp_path)
    with pytest.raises(UserError, match="no records in"):
        attnbench.compare("se", results=tmp_path)
    with pytest.raises(UserError, match="no records in"):
        attnbench.recommend("resnet8", results=tmp_path)
