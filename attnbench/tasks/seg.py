"""Segmentation: a label for each pixel of an image."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from attnbench import data, tasks
from attnbench.config.schema import Config
from attnbench.tasks import segmentation
from attnbench.tasks._card import Card, Metric
from attnbench.tasks.segmentation import Outputs, metrics, windows
from attnbench.tasks.segmentation import loss as _pixel_loss

OPTIONS: Mapping[str, Any] = {
    **segmentation.OPTIONS,
    **metrics.OPTIONS,
    **_pixel_loss.OPTIONS,
    **windows.OPTIONS,
}


class Task:
    """Cross-entropy at each labelled pixel, of the head and, weighed, of the auxiliary head."""

    card = Card(
        metrics=(
            Metric("miou", "mIoU", difference=0.5),
            Metric("pixel_accuracy", "pixel accuracy"),
            Metric("mean_accuracy", "mean class accuracy"),
            Metric("boundary_f1", "boundary F1"),
            Metric("loss", "loss", "nats", 4, larger=False),
        ),
        masks=True,
        classwise=Metric("iou_", "IoU of"),
        chance="miou_constant",
        choices={"decoder": ("fcn", "psp", "aspp", "unet"), "score": ("labels", "frame")},
        stated=("score", "decoder", "output_stride", "auxiliary", "ohem", "crop", "stride", "scales", "flip"),
        resized="score=frame",
        check="attnbench.tasks._pixels:check",
    )

    def __init__(self, config: Config) -> None:
        self.config = config
        self.options = {**OPTIONS, **config.task.options}
        tasks.check_options(config, self.options)
        self.shape: tuple[int, ...] = config.data.image
        self.cost_shape: tuple[int, ...] = config.cost_image

    def network(self) -> nn.Module:
        data = self.config.data
        return segmentation.build(self.config.backbone, data.classes, data.image, self.options)

    def inputs(self, images: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        return (images,)

    def predict(self, network: nn.Module, inputs: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        return windows.predict(network, inputs, self.options)

    def loss(self, outputs: Outputs, targets: Int[Tensor, "b h w"]) -> Float[Tensor, ""]:
        """Nats a pixel, the auxiliary head's times its weight."""
        smoothing = self.config.recipe.label_smoothing
        total = _pixel_loss.segmentation_loss(outputs.logits, targets, self.options, smoothing)
        if outputs.auxiliary is None:
            return total
        auxiliary = _pixel_loss.segmentation_loss(outputs.auxiliary, targets, self.options, smoothing)
        return total + self.options["auxiliary"] * auxiliary

    def weight(self, targets: Int[Tensor, "b h w"]) -> Float[Tensor, ""]:
        """The number of labelled pixels, each times its class's weight."""
        return _pixel_loss.weight(targets, self.options)

    def meter(self, device: torch.device) -> metrics.Meter:
        return metrics.Meter(self._names(), metrics.IGNORE, device, self.options)

    def _names(self) -> list[str]:
        return data.label_names(self.config.data, self.config.task.name)
