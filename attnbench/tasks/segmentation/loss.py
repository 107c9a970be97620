"""Cross-entropy of every pixel, or of the hard ones alone."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attnbench.tasks.segmentation.metrics import IGNORE

OPTIONS: dict[str, Any] = {  # what of the task's options is read here
    "ohem": False,  # learn from hard pixels alone
    "ohem_threshold": 0.7,  # hard: the true class has a lower probability
    "ohem_kept": 100000,  # pixels an image, on average over the batch, that are kept at least
    "class_weights": None,  # a weight for each class; null: 1
}


def segmentation_loss(
    logits: Float[Tensor, "b k h w"],
    labels: Int[Tensor, "b h w"],
    options: Mapping[str, Any] = OPTIONS,
    smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean cross-entropy (nats) over the pixels that are labelled and, with `ohem`, hard; 0 without any.

    With class weights the mean is weighted, as PyTorch's is.
    """
    logits, labels = logits.float(), labels.long()
    if options.get("ohem"):
        threshold, kept = (options.get(n, OPTIONS[n]) for n in ("ohem_threshold", "ohem_kept"))
        labels = labels.where(hard(logits, labels, threshold, kept), torch.full_like(labels, IGNORE))
    each = _class_weights(options, logits)
    total = F.cross_entropy(
        logits, labels, each, ignore_index=IGNORE, reduction="sum", label_smoothing=smoothing
    )
    return total / _count(labels, each).clamp(min=1e-6)


def weight(labels: Int[Tensor, "b h w"], options: Mapping[str, Any] = OPTIONS) -> Float[Tensor, ""]:
    """What the mean is over without `ohem`: the labelled pixels, each times its class's weight."""
    labels = labels.long()
    return _count(labels, _class_weights(options, labels)).float()


def _class_weights(options: Mapping[str, Any], like: Tensor) -> Float[Tensor, " k"] | None:
    weights = options.get("class_weights")
    return None if weights is None else torch.tensor(list(weights), dtype=torch.float32, device=like.device)


def _count(labels: Int[Tensor, "b h w"], each: Float[Tensor, " k"] | None) -> Tensor:
    valid = labels != IGNORE
    return valid.sum() if each is None else (each[labels.where(valid, 0)] * valid).sum()


@torch.no_grad()
def hard(
    logits: Float[Tensor, "b k h w"], labels: Int[Tensor, "b h w"], threshold: float, kept: int
) -> Bool[Tensor, "b h w"]:
    """The labelled pixels whose true class has a probability below the threshold.

    Where those are fewer than b * kept, the threshold rises until there are as many. Source: online hard
    example mining (Shrivastava et al. 2016) as mmsegmentation's OHEMPixelSampler applies it to pixels.
    """
    valid = labels != IGNORE
    true = labels.where(valid, 0)[:, None]
    probability = logits.softmax(1).gather(1, true)[:, 0]
    ordered = probability[valid].sort().values
    if len(ordered) == 0:
        return valid
    least = ordered[min(kept * len(labels), len(ordered) - 1)]
    return valid & (probability < least.clamp(min=threshold))
