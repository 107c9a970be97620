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

    def meter(self, device: torch.device) -> tasks.Meter:
        return Meter(self.config.recipe.label_smoothing, device)


class Meter:
    """Top-1 and top-5 accuracy (%), loss and negative log-likelihood (nats), calibration error (%)."""

    def __init__(self, smoothing: float, device: torch.device) -> None:
        self.smoothing = smoothing
        exact = torch.float32 if device.type == "mps" else torch.float64
        # count, correct, correct among five, likelihood, loss; then count, correct, confidence of each bin
        self.sums = torch.zeros(5 + 3 * BINS, dtype=exact, device=device)

    def update(self, outputs: Float[Tensor, "b k"], targets: Int[Tensor, "b"]) -> None:
        """Take in the logits and labels of one batch."""
        logits = outputs.float()
        top = logits.topk(min(5, logits.shape[1])).indices
        hits = top == targets[:, None]
        likelihood = F.cross_entropy(logits, targets, reduction="sum")
        loss = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=self.smoothing)
        self.sums[0] += len(targets)
        self.sums[1:5] += torch.stack([hits[:, 0].sum(), hits.sum(), likelihood, loss]).to(self.sums)
        self._update_bins(logits.softmax(1).amax(1), hits[:, 0])

    def _update_bins(self, confidence: Float[Tensor, "b"], correct: Tensor) -> None:
        bins = (confidence * BINS).ceil().sub(1).clamp(0, BINS - 1).long()
        rows = torch.stack([torch.ones_like(confidence), correct.to(confidence), confidence]).to(self.sums)
        self.sums[5:].view(3, BINS).index_add_(1, bins, rows)

    def compute(self) -> dict[str, float]:
        """The metrics of all that was taken in."""
        count, first, five, likelihood, loss = self.sums[:5].tolist()
        _, correct, confidence = self.sums[5:].view(3, BINS)
        return {
            "top1": 100 * first / count,
            "top5": 100 * five / count,
            "loss": loss / count,
            "nll": likelihood / count,
            "ece": 100 * float((correct - confidence).abs().sum()) / count,
        }
