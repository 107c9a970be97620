"""Boxes of an image resampled to the network's size: random ones for training, the middle for evaluation."""

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from attnbench.config.recipe import Augment
from attnbench.data.pipeline.order import Draws

RATIO = (3 / 4, 4 / 3)  # of width to height
SHARE = 224 / 256  # of the short side that evaluation sees


def boxes(
    draws: Draws | None, augment: Augment | None, sizes: Int[np.ndarray, "b 2"]
) -> Float[np.ndarray, "b 4"]:
    """What is seen of images of these (height, width): random boxes where drawn, else the middle."""
    if draws is None or augment is None or augment.crop != "resized":
        return middle_boxes(sizes)
    return random_boxes(draws.boxes, sizes, augment.scale).astype(float)


def random_boxes(
    draws: Float[np.ndarray, "b t 4"], sizes: Int[np.ndarray, "b 2"], scale: list[float]
) -> Int[np.ndarray, "b 4"]:
    """(top, left, height, width) in px of a random share of the area and a random aspect, as GoogLeNet crops.

    The first of the t tries that fits is taken; where none fits, the largest box in the middle whose
    aspect is allowed. `sizes` holds (height, width) of each image. Source: Szegedy et al. 2015,
    section 6, in the form that torchvision's RandomResizedCrop gave it.
    """
    high, wide = sizes[:, :1], sizes[:, 1:]
    area = high * wide * (scale[0] + draws[..., 0] * (scale[1] - scale[0]))
    low, top = np.log(RATIO)
    aspect = np.exp(low + draws[..., 1] * (top - low))
    height = np.rint(np.sqrt(area / aspect)).astype(int)
    width = np.rint(np.sqrt(area * aspect)).astype(int)
    fits = (height > 0) & (height <= high) & (width > 0) & (width <= wide)
    down = np.floor(draws[..., 2] * (high - height + 1)).astype(int)
    right = np.floor(draws[..., 3] * (wide - width + 1)).astype(int)
    tries = np.stack([down, right, height, width], -1)
    first = tries[np.arange(len(tries)), fits.argmax(1)]
    return np.where(fits.any(1)[:, None], first, _widest(sizes))


def _widest(sizes: Int[np.ndarray, "b 2"]) -> Int[np.ndarray, "b 4"]:
    high, wide = sizes.T
    width = np.minimum(wide, np.rint(high * RATIO[1]).astype(int))
    height = np.minimum(high, np.rint(wide / RATIO[0]).astype(int))
    return np.stack([(high - height) // 2, (wide - width) // 2, height, width], -1)


def middle_boxes(sizes: Int[np.ndarray, "b 2"]) -> Float[np.ndarray, "b 4"]:
    """(top, left, height, width) of the square in the middle with `SHARE` of the short side."""
    side = sizes.min(1) * SHARE
    return np.stack([(sizes[:, 0] - side) / 2, (sizes[:, 1] - side) / 2, side, side], -1)


def resample(
    images: Float[Tensor, "b h w c"], boxes: Float[Tensor, "b 4"], size: int
) -> Float[Tensor, "b size size c"]:
    """The boxes of the images, resized to size x size by a bilinear filter with antialiasing.

    The filter is separable, so that each image is multiplied by one matrix for its rows and one for
    its columns. At a box's edge it sees the image's pixels beyond, as if all of the image was resized.
    """
    rows = weights(boxes[:, 0], boxes[:, 2], images.shape[1], size)
    columns = weights(boxes[:, 1], boxes[:, 3], images.shape[2], size)
    return torch.einsum("bih,bhwc,bjw->bijc", rows, images, columns)


def weights(
    begin: Float[Tensor, " b"], length: Float[Tensor, " b"], full: int, size: int
) -> Float[Tensor, "b size full"]:
    """How much each of `full` pixels adds to each of `size` samples of [begin, begin + length).

    Rows of samples that lie outside of the pixels, beyond what the filter reaches, are 0.
    """
    begin, length = begin[:, None, None], length[:, None, None]
    pixel = torch.arange(full, device=begin.device) + 0.5
    step = length / size
    centre = begin + (torch.arange(size, device=begin.device)[:, None] + 0.5) * step
    near = (1 - (pixel - centre).abs() / step.clamp(min=1)).clamp(min=0)
    return near / near.sum(2, keepdim=True).clamp(min=1e-6)


def stored_side(size: int) -> int:
    """The side, px, at which evaluation's box of a square image is `size` px."""
    return math.ceil(size / SHARE)
