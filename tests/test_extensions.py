"""A task and a data set of a user's own: new files in a folder outside the package, and nothing else."""

import json
from pathlib import Path

import pytest

from attnbench import records, tasks
from attnbench.cell import Cell
from attnbench.cli.main import main
from attnbench.config import sources
from attnbench.config.compose import read
from attnbench.config.files import names
from attnbench.config.load import configure
from attnbench.errors import UserError
from attnbench.report.load import load
from attnbench.report.tables.table import tables

TASK = '''"""How many bright pixels an image has, as a number."""

import torch
import torch.nn.functional as F

from attnbench.tasks import Card, Metric, cls


class Task(cls.Task):
    """Mean squared error on one output."""

    card = Card(metrics=(Metric("mse", "MSE", unit="", digits=4, larger=False),), mixes=False)

    def loss(self, outputs, targets):
        return F.mse_loss(outputs[:, 0].float(), targets.float())

    def meter(self, device):
        return Meter(device)


class Meter:
    def __init__(self, device):
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)

    def update(self, outputs, targets):
        self.sums[0] += (outputs[:, 0] - targets).square().sum()
        self.sums[1] += len(targets)

    def compute(self):
        return {"mse": float(self.sums[0] / self.sums[1])}
'''
READER = '''"""Random images and how many of their pixels are bright."""

import numpy as np

from attnbench.data.pipeline.split import resident


def build(data, device, workers=0):
    rng = np.random.default_rng(0)
    parts = {}
    for split, count in (("train", data.train or 64), ("val", 16), ("test", 16)):
        images = rng.integers(0, 256, (count, data.size, data.size, 3), np.uint8)
        parts[split] = images, (images > 127).mean((1, 2, 3)).round().astype(int)
    return resident(["few", "many"], parts, data, device)
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a task, a data set that serves it alone, and the YAML of both."""
    files = {
        "task/bright.py": TASK,
        "task/bright.yaml": "# How many pixels are bright.\nname: bright\n",
        "data/noise.py": READER,
        "data/noise.yaml": "name: noise\norigin: generated\nsize: 16\nclasses: 2\ntasks: {bright: {}}\n",
    }
    for name, text in files.items():
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setenv(sources.VARIABLE, str(tmp_path / "mine"))
    return tmp_path / "mine"


def test_a_task_and_a_data_set_of_a_users_folder_run_and_are_compared(folder: Path) -> None:
    results = folder.parent / "results"
    words = [
        "task=bright",
        "data=noise",
        "recipe.epochs=1",
        f"results={results}",
        f"runs={folder.parent / 'u'}",
    ]
    assert main(["-m", *words, "attn=none,se", "cost.latency=false", "launch=inline"]) == 0
    found = [json.loads(file.read_text()) for file in (results / "cells").glob("*.json")]
    assert {r["cell"]["mechanism"] for r in found} == {"none", "se"}
    assert all(r["status"] == "done" and set(r["metrics"]["test"]) == {"mse"} for r in found)
    (table,) = tables(load(results).records)
    assert table.metric == tasks.find("bright").card.metrics[0]
    assert not table.metric.larger
    assert "test MSE" in "".join(file.read_text() for file in results.glob("*.md"))


def test_what_is_of_no_use_together_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="'noise' has nothing for it; data sets that do: cifar10"):
        configure(["task=cls", "data=noise"])
    with pytest.raises(UserError, match=r"task=bright: .*data sets that do: noise"):
        configure(["task=bright", "data=cifar10"])
    with pytest.raises(UserError, match=r"task=bright cannot mix its targets"):
        configure(["task=bright", "data=noise", "recipe.augment.mixup=0.2"])


def test_they_are_listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "tasks"]) == 0 and main(["list", "data"]) == 0
    printed = capsys.readouterr().out
    assert "How many pixels are bright." in printed and "noise" in printed


def test_code_may_lie_anywhere(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.py"
    elsewhere.write_text(TASK.replace("class Task", "class Brightness"))
    assert tasks.find(f"{elsewhere}:Brightness").card.metrics[0].key == "mse"
    assert tasks.find("attnbench.tasks.cls:Task").card == tasks.find("cls").card


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("brigt", "unknown task 'brigt': did you mean bright?"),
        ("nowhere.py", "no file nowhere.py"),
        ("nowhere.at.all:Task", "no such Python module"),
        ("attnbench.tasks.cls:Taks", "has no class Taks"),
    ],
)
def test_code_that_does_not_exist_is_refused(folder: Path, source: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tasks.find(source)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("", "bright.py, line 9: Task has no `card"),
        ("    card = Card(metrics=())", "line 12: the card must be a Card with one metric or more"),
        ("    card = Card(metric=1)", "line 12: the card must be Card\\(...\\) of literals"),
        ("    card = Card(", "bright.py, line 1[0-9]: "),
    ],
)
def test_a_task_without_metrics_is_refused_by_file_and_line(folder: Path, card: str, message: str) -> None:
    lines = [card if "card = " in line else line for line in TASK.splitlines()]
    (folder / "task" / "bright.py").write_text("\n".join(lines))
    with pytest.raises(UserError, match=message):
        configure(["task=bright", "data=noise"])


def test_the_cards_read_from_sources_are_those_of_the_classes() -> None:
    for name, card in tasks.cards().items():
        entry = tasks.find(name)
        assert getattr(entry.place.load(), entry.cls).card == card


def test_each_data_set_names_the_tasks_that_it_serves() -> None:
    """What a set serves is known, and what it fills in is what the task needs."""
    for name in names("data"):
        served = read("data", name)["tasks"]
        assert served and set(served) <= set(tasks.cards())
        for task in served:
            data = configure([f"data={name}", f"task={task}", "recipe=none", *SKELETON.get(task, [])]).data
            assert data.classes >= 2
            assert data.frames is not None or not tasks.cards()[task].frames


def test_a_recipe_of_no_epochs_measures_costs_for_every_task() -> None:
    for task in tasks.cards():
        config = configure([f"task={task}", "recipe=none", *SKELETON.get(task, [])])
        assert not config.recipe.trains and config.task.name == task
    profile, plain = configure(["task=profile"]), configure(["task=cls", "recipe=none"])
    assert Cell(profile).key == Cell(plain).key


SKELETON = {"skeleton": ["backbone=lstm"]}


def test_records_of_the_former_cost_tasks_are_read_under_the_tasks_name(tmp_path: Path) -> None:
    cell = Cell(configure(["task=seg", "recipe=none"]))
    old = {**json.loads(json.dumps(cell.record("done"), default=str)), "schema": 1}
    old["cell"]["task"], old["config"]["task"]["name"] = "seg_profile", "seg_profile"
    records.write(tmp_path, old)
    (read,) = load(tmp_path).records
    assert read["cell"]["task"] == "seg" and read["config"]["task"]["name"] == "seg"
    (table,) = tables([read])
    assert not table.trains and table.title.startswith("seg · costs · resnet8")
