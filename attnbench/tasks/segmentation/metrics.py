"""Metrics of segmentation from a confusion matrix that is gathered batch by batch on the device."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attnbench.data.pipeline.masks import Masks

IGNORE = 255  # the label of pixels that count nowhere
OPTIONS: dict[str, Any] = {  # what of the task's options is read here
    "boundary_f1": False,  # measure it too
    "score": "labels",  # at the labels' own size, or at that of the frame in which the network sees them
}
TOLERANCE = 0.0075  # of a boundary's place, as a share of the image's diagonal


class Meter:
    """Mean and single IoU, pixel and mean accuracy (%), cross-entropy (nats a pixel), boundary F1 (%).

    `miou_constant` (%) is the most that one class everywhere would score on the same pixels.
    """

    def __init__(
        self, names: Sequence[str], ignore: int, device: torch.device, options: Mapping[str, Any] = OPTIONS
    ) -> None:
        self.names, self.ignore = list(names), ignore
        self.boundary = bool(options.get("boundary_f1", False))
        self.framed = options.get("score") == "frame"
        exact = torch.float32 if device.type == "mps" else torch.float64
        # loss of all pixels; boundary scores of all images and their number; then the matrix, truth by row
        self.sums = torch.zeros(3 + len(names) ** 2, dtype=exact, device=device)

    def update(self, logits: Float[Tensor, "b k h w"], labels: Int[Tensor, "b h w"] | Masks) -> None:
        """Take in one batch; raises `ValueError` for a label that is neither a class nor ignored.

        Logits of masks that have a size of their own are resized to it, without the frame's padding: bilinear
        and by the middles of pixels, as images are brought into the frame.
        """
        if not isinstance(labels, Masks):
            self._take(logits, labels)
        elif self.framed or all(own.shape == labels.framed.shape[1:] for own in labels.own):
            self._take(logits, labels.framed)
        else:
            for each, (high, wide), own in zip(logits, labels.inner, labels.own):
                inner = each[None, :, :high, :wide].float()
                sized = F.interpolate(inner, own.shape, mode="bilinear", align_corners=False)
                self._take(sized, own[None].to(logits.device))

    def _take(self, logits: Float[Tensor, "b k h w"], labels: Int[Tensor, "b h w"]) -> None:
        logits, labels = logits.float(), labels.long()
        predicted = logits.argmax(1)
        self.sums[3:] += confusion(predicted, labels, len(self.names), self.ignore).to(self.sums)
        self.sums[0] += F.cross_entropy(logits, labels, ignore_index=self.ignore, reduction="sum")
        if self.boundary:
            scores = boundary_f1(predicted, labels, len(self.names), self.ignore)
            counted = ~scores.isnan()
            self.sums[1:3] += torch.stack([scores.nansum(), counted.sum().to(scores)]).to(self.sums)

    @property
    def matrix(self) -> Float[Tensor, "k k"]:
        """Pixels of each true class (row) that were given each class (column)."""
        return self.sums[3:].view(len(self.names), -1)

    def compute(self) -> dict[str, float]:
        """The metrics of all that was taken in; not a number for what was never seen."""
        matrix = self.matrix
        right, truth, given = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        iou = right / (truth + given - right)  # 0 / 0 where a class is in neither: it leaves the mean
        pixels = matrix.sum()
        metrics = {
            "miou": 100 * iou.nanmean().item(),
            # One class everywhere has its share of the pixels as IoU, and the other classes that are there 0.
            "miou_constant": 100 * (truth.max() / pixels / (truth > 0).sum()).item(),
            "pixel_accuracy": 100 * (right.sum() / pixels).item(),
            "mean_accuracy": 100 * (right / truth).nanmean().item(),
            "loss": (self.sums[0] / pixels).item(),
        }
        if self.boundary:
            metrics["boundary_f1"] = 100 * (self.sums[1] / self.sums[2]).item()
        return metrics | {f"iou_{name}": 100 * each for name, each in zip(self.names, iou.tolist())}


def confusion(
    predicted: Int[Tensor, "b h w"], labels: Int[Tensor, "b h w"], classes: int, ignore: int = IGNORE
) -> Int[Tensor, " kk"]:
    """Counts of (truth, prediction) pairs, flat, over the pixels that are not ignored."""
    valid = labels != ignore
    counts = torch.bincount(labels[valid] * classes + predicted[valid], minlength=classes**2)
    if len(counts) > classes**2:
        raise ValueError(f"a label above {classes - 1} that is not {ignore}")
    return counts


def boundary_f1(
    predicted: Int[Tensor, "b h w"], labels: Int[Tensor, "b h w"], classes: int, ignore: int = IGNORE
) -> Float[Tensor, " b"]:
    """Per image, the mean over classes of the F1 score of their boundaries; nan where none has one.

    A boundary pixel is right if the other map has one of its class within 0.75 % of the diagonal. A class
    counts where either map has a boundary of it. Source: Csurka et al. 2013, section 3.2.
    """
    given = edges(predicted.where(labels != ignore, torch.full_like(labels, ignore)), classes, ignore)
    truth = edges(labels, classes, ignore)
    radius = TOLERANCE * (labels.shape[1] ** 2 + labels.shape[2] ** 2) ** 0.5
    precision = _share(given & grow(truth, radius), given)
    recall = _share(truth & grow(given, radius), truth)
    score = 2 * precision * recall / (precision + recall).clamp(min=1e-9)
    seen = (given | truth).any((2, 3))
    return score.where(seen, torch.full_like(score, torch.nan)).nanmean(1)


def _share(part: Bool[Tensor, "b k h w"], whole: Bool[Tensor, "b k h w"]) -> Float[Tensor, "b k"]:
    return part.sum((2, 3)) / whole.sum((2, 3)).clamp(min=1)


def edges(labels: Int[Tensor, "b h w"], classes: int, ignore: int = IGNORE) -> Bool[Tensor, "b k h w"]:
    """The pixels of each class beside (of four neighbours) a pixel of another class, ignored ones apart."""
    valid = labels != ignore
    edge = torch.zeros_like(valid)
    for axis in (1, 2):
        length = labels.shape[axis] - 1
        step = labels.narrow(axis, 0, length) != labels.narrow(axis, 1, length)
        step &= valid.narrow(axis, 0, length) & valid.narrow(axis, 1, length)
        edge.narrow(axis, 0, length).logical_or_(step)
        edge.narrow(axis, 1, length).logical_or_(step)
    kinds = torch.arange(classes, device=labels.device)[:, None, None]
    return edge[:, None] & (labels[:, None] == kinds)


def grow(marks: Bool[Tensor, "b k h w"], radius: float) -> Bool[Tensor, "b k h w"]:
    """All pixels whose distance to a marked one is below the radius, px."""
    reach = int(radius)
    at = torch.arange(-reach, reach + 1, device=marks.device)
    disc = (at[:, None] ** 2 + at**2 < radius**2).float()
    flat = marks.flatten(0, 1)[:, None].float()
    return (F.conv2d(flat, disc[None, None], padding=reach) > 0.5).view(marks.shape)
