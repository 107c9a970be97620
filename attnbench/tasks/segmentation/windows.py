"""Logits of whole images: in one pass, by a sliding window, at several scales, and mirrored.

Images and logits are scaled with their corners aligned, as in the heads.
"""

from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.tasks._pixels import pair
from attnbench.tasks.segmentation.layers import resize

Pair = tuple[int, int] | None
OPTIONS: dict[str, Any] = {  # what of the task's options is read here
    "crop": None,  # height and width of the sliding window, px, or one number for both; null: whole images
    "stride": None,  # px between windows; null: two thirds of the window
    "scales": [1.0],  # of the image; predictions are averaged
    "flip": False,  # average with the mirror image's prediction
}


@torch.no_grad()
def predict(
    network: nn.Module, images: Float[Tensor, "b c h w"], options: Mapping[str, Any] = OPTIONS
) -> Float[Tensor, "b k h w"]:
    """Logits of the images at their own size; of several passes, the log of their mean probability."""
    crop, stride = (pair(name, options.get(name)) for name in ("crop", "stride"))
    passes = list(_variants(images, options.get("scales", [1.0]), bool(options.get("flip"))))
    if len(passes) == 1:
        return resize(_slide(network, passes[0][0], crop, stride), images.shape[2:])
    total = reduce(torch.add, _probabilities(network, passes, images, crop, stride))
    return (total / len(passes)).clamp(min=1e-12).log()


def _probabilities(
    network: nn.Module, passes: list[tuple[Tensor, bool]], images: Tensor, crop: Pair, stride: Pair
) -> Iterator[Float[Tensor, "b k h w"]]:
    """The prediction of each pass, brought back to the images' size and side."""
    for variant, mirrored in passes:
        logits = resize(_slide(network, variant, crop, stride).float(), images.shape[2:])
        yield (logits.flip(3) if mirrored else logits).softmax(1)


def _variants(
    images: Tensor, scales: list[float], flip: bool
) -> Iterator[tuple[Float[Tensor, "b c h w"], bool]]:
    """The images at each scale, each perhaps also mirrored, and whether they are."""
    for scale in scales:
        size = [max(round(side * scale), 1) for side in images.shape[2:]]
        scaled = resize(images, size)
        yield scaled, False
        if flip:
            yield scaled.flip(3), True


def _slide(network: nn.Module, images: Tensor, crop: Pair, stride: Pair) -> Float[Tensor, "b k h w"]:
    """Logits of the images at their size; where windows overlap, the mean of the windows'."""
    h, w = images.shape[2:]
    if crop is None or (h <= crop[0] and w <= crop[1]):
        return resize(network(images), (h, w))
    high, wide = min(crop[0], h), min(crop[1], w)
    step = stride or (max(2 * crop[0] // 3, 1), max(2 * crop[1] // 3, 1))
    total, seen = images.new_zeros(()), images.new_zeros(1, 1, h, w)
    for down in starts(h, high, step[0]):
        for right in starts(w, wide, step[1]):
            place = (..., slice(down, down + high), slice(right, right + wide))
            logits = resize(network(images[place]), (high, wide)).float()
            if not total.ndim:
                total = logits.new_zeros(*logits.shape[:2], h, w)
            total[place] += logits
            seen[place] += 1
    return total / seen


def starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin so that all of `length` is seen; the last one ends at the end."""
    count = -(-(length - window) // stride) + 1
    return [min(i * stride, length - window) for i in range(count)]
