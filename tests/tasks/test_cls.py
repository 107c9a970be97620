"""Classification metrics: by hand, and as torchmetrics has them."""

import math

import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

from attnbench.sweeping.experiment import cell
from attnbench.tasks.cls import Meter, Task

CPU = torch.device("cpu")


def measured(logits: torch.Tensor, targets: torch.Tensor, parts: int = 1) -> dict:
    meter = Meter(CPU)
    for x, y in zip(logits.chunk(parts), targets.chunk(parts)):
        meter.update(x, y)
    return meter.compute()


def test_metrics_of_a_case_done_by_hand():
    # Shares 0.8, 0.2 and 0.6, 0.4: the first right, the second wrong.
    logits = torch.tensor([[0.8, 0.2], [0.6, 0.4]], dtype=torch.float64).log()
    found = measured(logits, torch.tensor([0, 1]))
    assert found["top1"] == 50
    assert found["top5"] == 100
    assert found["nll"] == pytest.approx(-(math.log(0.8) + math.log(0.4)) / 2)
    assert found["loss"] == pytest.approx(found["nll"])
    # Alone in their bins: |1 - 0.8| and |0 - 0.6|, each half of the images.
    assert found["ece"] == pytest.approx(100 * (0.2 + 0.6) / 2, rel=1e-6)


@pytest.mark.parametrize("parts", [1, 3])
def test_metrics_are_those_of_torchmetrics(parts):
    torch.manual_seed(0)
    logits, targets = 3 * torch.randn(200, 10), torch.randint(0, 10, (200,))
    found = measured(logits, targets, parts)
    for name, top in (("top1", 1), ("top5", 5)):
        expected = multiclass_accuracy(logits, targets, 10, average="micro", top_k=top)
        assert found[name] == pytest.approx(100 * float(expected), rel=1e-6)
    expected = multiclass_calibration_error(logits.softmax(1), targets, 10, n_bins=15)
    assert found["ece"] == pytest.approx(100 * float(expected), rel=1e-4)


def test_of_equal_scores_the_first_class_is_the_prediction():
    logits = torch.zeros(2, 10)
    found = measured(logits, torch.tensor([0, 9]))
    assert found["top1"] == 50  # the first, as argmax has it
    assert found["top5"] == 50
    logits[:, 9] = 1
    assert measured(logits, torch.tensor([4, 3]))["top5"] == 50  # 9, 0, 1, 2, 3 are the five


def test_the_loss_of_an_evaluation_is_not_smoothed_and_the_objective_is():
    torch.manual_seed(0)
    logits, targets = torch.randn(20, 10), torch.randint(0, 10, (20,))
    task = Task(cell(["recipe.label_smoothing=0.1"]).config)
    meter = task.meter(CPU)
    meter.update(logits, targets)
    plain = float(torch.nn.functional.cross_entropy(logits, targets))
    assert meter.compute()["loss"] == pytest.approx(plain, rel=1e-6)
    smooth = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=0.1)
    assert float(task.loss(logits, targets)) == pytest.approx(float(smooth), rel=1e-6) != plain


def test_training_loss_takes_labels_and_shares():
    task = Task(cell(["recipe.label_smoothing=0.1"]).config)
    logits, labels = torch.randn(8, 10), torch.randint(0, 10, (8,))
    shares = torch.nn.functional.one_hot(labels, 10) * 0.9 + 0.01
    assert task.loss(logits, shares) == pytest.approx(float(task.loss(logits, labels)), rel=1e-6)
