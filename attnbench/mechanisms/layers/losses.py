"""Losses of logits that a mechanism makes beside the network's own."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from attnbench.mechanisms.layers.precision import full_precision


@full_precision
def label_loss(logits: Float[Tensor, "b k h w"], targets: Tensor) -> Tensor:
    """Mean cross-entropy over known labels: label maps (b, i, j) at their own size, or an image's class (b,).

    In the second case the logits' mean over positions counts. Labels outside of the k classes are ignored.
    """
    if targets.dim() == 3:
        logits = F.interpolate(logits, targets.shape[1:], mode="bilinear", align_corners=True)
    else:
        logits = logits.mean((2, 3))
    known = (targets >= 0) & (targets < logits.shape[1])
    total = F.cross_entropy(logits, targets.where(known, -100).long(), ignore_index=-100, reduction="sum")
    return total / known.sum().clamp(min=1)
