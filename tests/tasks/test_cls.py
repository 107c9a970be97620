"""Classification metrics: by hand, and as torchmetrics has them."""

import math

import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

from attnbench.sweep.experiment import cell
from attnbench.tasks.cls import Meter, Task

CPU = torch.device("cpu")


def measured(logits: torch.Tensor, targets: torch.Tensor, parts: int = 1, smoothing: float = 0.0) -> dict:
    meter = Meter(smoothing, CPU)
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


def test_loss_is_smoothed_and_likelihood_is_not():
    torch.manual_seed(0)
    logits, targets = torch.randn(20, 10), torch.randint(0, 10, (20,))
    plain, smooth = measured(logits, targets), measured(logits, targets, smoothing=0.1)
    assert smooth["nll"] == plain["nll"]
    expected = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=0.1)
    assert smooth["loss"] == pytest.approx(float(expected), rel=1e-6)


def test_training_loss_takes_labels_and_shares():
    task = Task(cell(["recipe.label_smoothing=0.1"]).config)
    logits, labels = torch.randn(8, 10), torch.randint(0, 10, (8,))
    shares = torch.nn.functional.one_hot(labels, 10) * 0.9 + 0.01
    assert task.loss(logits, shares) == pytest.approx(float(task.loss(logits, labels)), rel=1e-6)
