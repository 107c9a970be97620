"""Classification: one label for one image."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from attnbench import backbones, tasks
from attnbench.config.schema import Config
from attnbench.tasks._card import CLASSIFICATION, Card

BINS = 15  # of confidence, for the calibration error


class Task:
    """Cross-entropy on the backbone's own classifier."""

    card = Card(metrics=CLASSIFICATION, mixes=True, chance="classes")

    def __init__(self, config: Config) -> None:
        self.config = config
        self.shape: tuple[int, ...] = config.data.image
        self.cost_shape: tuple[int, ...] = config.cost_image

    def network(self) -> nn.Module:
        data = self.config.data
        return backbones.build(self.config.backbone, data.classes, data.image)

    def inputs(self, images: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        return (images,)

    def predict(self, network: nn.Module, inputs: Tensor) -> Tensor:
        return network(inputs)

    def loss(self, outputs: Float[Tensor, "b k"], targets: Tensor) -> Float[Tensor, ""]:
        """Cross-entropy in nats; targets are labels (b), or, mixed and already smoothed, shares (b k)."""
        smoothing = self.config.recipe.label_smoothing if targets.ndim == 1 else 0.0
        return F.cross_entropy(outputs.float(), targets, label_smoothing=smoothing)

    def weight(self, targets: Tensor) -> Float[Tensor, ""]:
        """The number of images."""
        return torch.tensor(float(len(targets)), device=targets.device)

    def meter(self, device: torch.device) -> tasks.Meter:
        return Meter(device)


class Meter:
    """Top-1 and top-5 accuracy (%), loss (nats), which is the negative log-likelihood, calibration error (%).

    Of classes with equal scores the first counts as the prediction.
    """

    def __init__(self, device: torch.device) -> None:
        exact = torch.float32 if device.type == "mps" else torch.float64
        # count, correct, correct among five, likelihood; then count, correct, confidence of each bin
        self.sums = torch.zeros(4 + 3 * BINS, dtype=exact, device=device)

    def update(self, outputs: Float[Tensor, "b k"], targets: Int[Tensor, "b"]) -> None:
        """Take in the logits and labels of one batch."""
        logits = outputs.float()
        place = _place(logits, targets)
        correct, five = place == 0, place < 5
        likelihood = F.cross_entropy(logits, targets, reduction="sum")
        self.sums[0] += len(targets)
        self.sums[1:4] += torch.stack([correct.sum(), five.sum(), likelihood]).to(self.sums)
        self._update_bins(logits.softmax(1).amax(1), correct)

    def _update_bins(self, confidence: Float[Tensor, "b"], correct: Tensor) -> None:
        bins = (confidence * BINS).ceil().sub(1).clamp(0, BINS - 1).long()
        rows = torch.stack([torch.ones_like(confidence), correct.to(confidence), confidence]).to(self.sums)
        self.sums[4:].view(3, BINS).index_add_(1, bins, rows)

    def compute(self) -> dict[str, float]:
        """The metrics of all that was taken in."""
        count, first, five, likelihood = self.sums[:4].tolist()
        _, correct, confidence = self.sums[4:].view(3, BINS)
        return {
            "top1": 100 * first / count,
            "top5": 100 * five / count,
            "loss": likelihood / count,
            "nll": likelihood / count,
            "ece": 100 * float((correct - confidence).abs().sum()) / count,
        }


def _place(logits: Float[Tensor, "b k"], targets: Int[Tensor, "b"]) -> Int[Tensor, "b"]:
    """The place (from 0) of each label among the scores, in falling order; ties by the classes' order."""
    own = logits.gather(1, targets[:, None])
    before = torch.arange(logits.shape[1], device=logits.device) < targets[:, None]
    return ((logits > own) | ((logits == own) & before)).sum(1)
