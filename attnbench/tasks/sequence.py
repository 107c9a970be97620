"""Sequences: several labels for one image, in order, and the symbol that ends them."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from attnbench import backbones
from attnbench.config.schema import Config
from attnbench.errors import UserError
from attnbench.tasks import cls
from attnbench.tasks._card import Card, Metric
from attnbench.tasks._decoder import Reader, Whole

AFTER = -100  # in targets, after the end symbol


class Task(cls.Task):
    """Cross-entropy at every step up to the end symbol, which is the last class."""

    card = Card(
        metrics=(
            Metric("sequence_accuracy", "sequence accuracy", share=True),
            Metric("symbol_accuracy", "symbol accuracy"),
            Metric("loss", "loss", "nats", 4, larger=False),
        ),
        mirrors=False,
        chance="zero",
    )

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if config.data.length is None:
            raise UserError(
                f"task=sequence: data.length=N, the labels of '{config.data.name}' at most, is missing"
            )
        self.steps = config.data.length + 1

    def network(self) -> nn.Module:
        """A backbone with a decoder, or a whole network that names all labels."""
        backbone, data = self.config.backbone, self.config.data
        kind = Whole if backbones.names_labels(backbone) else Reader
        return kind(backbone, data.image, data.classes, self.steps)

    def inputs(self, images: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        return images, targets

    def loss(
        self, outputs: Float[Tensor, "b steps classes"], targets: Int[Tensor, "b steps"]
    ) -> Float[Tensor, ""]:
        """Mean over labels and end symbols, in nats."""
        smoothing = self.config.recipe.label_smoothing
        scores = outputs.float().flatten(0, 1)
        return F.cross_entropy(scores, targets.flatten(), ignore_index=AFTER, label_smoothing=smoothing)

    def weight(self, targets: Int[Tensor, "b steps"]) -> Float[Tensor, ""]:
        """The number of labels and end symbols."""
        return (targets != AFTER).sum().float()

    def meter(self, device: torch.device) -> "Meter":
        return Meter(device)


class Meter:
    """Share of images with every label and the end right (%), share of symbols right (%), loss a symbol."""

    def __init__(self, device: torch.device) -> None:
        exact = torch.float32 if device.type == "mps" else torch.float64
        self.sums = torch.zeros(5, dtype=exact, device=device)  # images, right; symbols, right, loss

    def update(self, outputs: Float[Tensor, "b steps classes"], targets: Int[Tensor, "b steps"]) -> None:
        """Take in the scores and labels of one batch."""
        scores = outputs.float()
        counts = targets != AFTER
        right = (scores.argmax(2) == targets) & counts
        loss = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=AFTER, reduction="sum")
        whole = (right == counts).all(1).sum()
        self.sums[0] += len(targets)
        self.sums[1:] += torch.stack([whole, counts.sum(), right.sum(), loss]).to(self.sums)

    def compute(self) -> dict[str, float]:
        """The metrics of all that was taken in."""
        images, whole, symbols, right, loss = self.sums.tolist()
        return {
            "sequence_accuracy": 100 * whole / images,
            "symbol_accuracy": 100 * right / symbols,
            "loss": loss / symbols,
        }
