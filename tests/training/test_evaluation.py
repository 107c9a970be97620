"""Outputs that are not numbers are counted in every task, leave no metrics, and at the last end the cell."""

import pytest
import torch

from attnbench import running, tasks
from attnbench.config.recipe import Precision
from attnbench.config.schema import Config
from attnbench.sweeping.experiment import cell
from attnbench.training.distributed import Group
from attnbench.training.evaluation import Diverged, evaluate, final

SMALL = ["data.train=32", "data.val=8", "data.test=13", "recipe.batch_size=8", "cost.latency=false"]
TASKS = {
    "cls": [],
    "seg": [],
    "sequence": ["site=decoder"],
    "clip": ["data.frames=2"],
    "retrieval": ["data.frames=2", "data.train=160", "data.val=200", "data.test=400"],
    "skeleton": ["backbone=lstm", "recipe=skeleton"],
}


def config(task: str, *words: str) -> Config:
    size = [] if task == "skeleton" else ["data.size=16"]
    return cell([f"task={task}", *size, *SMALL, *TASKS[task], *words]).config


def broken(found: Config, split: str, value: float):
    """The evaluation of a fresh network whose first output is not a number."""
    task, network = tasks.load(found), running.build(cell_of(found))
    right = task.predict

    def predict(network, inputs):
        outputs = right(network, inputs)
        outputs[0] = value
        return outputs

    task.predict = predict
    data = running._dataset(found, torch.device("cpu"))
    return evaluate(network, getattr(data, split), task, found, Group())


def cell_of(found: Config):
    from attnbench.cell import Cell

    return Cell(found)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("task", TASKS)
def test_outputs_that_are_not_finite_are_counted_and_leave_no_metric(task, value):
    found = broken(config(task), "test", value)
    assert found.metrics == {} and found.nonfinite >= 1
    assert found.nonfinite < found.outputs
    row = found.row("val")
    assert set(row) == {"val_nonfinite", "val_outputs"}
    with pytest.raises(Diverged, match=rf"{found.nonfinite} of {found.outputs} outputs on the val split"):
        final(row, "val", Precision.fp32)


def test_half_precision_that_overflows_in_evaluation_is_named():
    with pytest.raises(Diverged, match=r"try recipe\.precision=bf16"):
        final({"test_nonfinite": 1, "test_outputs": 13}, "test", Precision.fp16)
    assert final({"val_top1": 50.0, "lr": 0.1}, "val", Precision.fp16) == {"top1": 50.0}


def test_a_cell_whose_last_evaluation_is_not_finite_is_diverged_with_the_count(tmp_path, monkeypatch):
    from attnbench.tasks import cls

    monkeypatch.setattr(cls.Task, "predict", lambda self, network, inputs: network(inputs) * float("nan"))
    words = [*SMALL, "data.size=16", "recipe.epochs=2", "recipe.evaluate_every=1", "cost.memory=false"]
    found = running.run(cell([*words, f"results={tmp_path}", f"runs={tmp_path}/runs"]))
    assert found["status"] == "diverged" and found["metrics"] is None
    assert "8 of 8 outputs on the val split are not finite after the last epoch" in found["reason"]
    assert [row["val_nonfinite"] for row in found["curve"]] == [8, 8]  # the first is void, training went on
