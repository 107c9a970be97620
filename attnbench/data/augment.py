"""uint8 images -> what the network sees, a batch at a time on the device: crop, flip, cutout, normalise."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from attnbench.config import Augment, Data
from attnbench.data.crop import random_boxes, resample
from attnbench.data.order import Draws
from attnbench.errors import UserError, unknown

CROPS = ("none", "pad", "resized")


def check(augment: Augment) -> None:
    """Raise `UserError` where an augmentation cannot be done."""
    if augment.crop not in CROPS:
        raise unknown("crop (recipe.augment.crop)", augment.crop, CROPS)
    if augment.padding < 0 or augment.cutout < 0:
        raise UserError(f"recipe.augment: padding={augment.padding}, cutout={augment.cutout}: px, at least 0")
    if len(augment.scale) != 2 or not 0 < augment.scale[0] <= augment.scale[1] <= 1:
        raise UserError(
            f"recipe.augment.scale={list(augment.scale)}: two shares of the area, 0 < low <= high <= 1"
        )


class Pixels:
    """From a batch as it is stored to the batch that the network sees."""

    def __init__(self, data: Data, device: torch.device) -> None:
        self.size = data.size
        self.device = device
        std = torch.tensor(data.std, device=device)
        self.scale = 1 / (255 * std)
        self.bias = -torch.tensor(data.mean, device=device) / std

    def __call__(
        self, images: Tensor, draws: Draws | None = None, augment: Augment | None = None
    ) -> Float[Tensor, "b c size size"]:
        """Augment (where asked) and normalise a batch (b h w c) of 0 ... 255 on the device; channels_last.

        Cutout is done last: its square holds the mean, which is 0.
        """
        if draws is not None and augment is not None:
            images = self.crop(images, draws, augment)
        x = self.normalise(images)
        if x.shape[2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        if draws is not None and augment is not None and augment.cutout:
            cover(x, torch.from_numpy(draws.uniform[:, 3:]).to(self.device), augment.cutout)
        return x

    def crop(self, images: Tensor, draws: Draws, augment: Augment) -> Tensor:
        """Random crop, then random mirroring."""
        uniform = torch.from_numpy(draws.uniform).to(self.device)
        if augment.crop == "resized":
            sizes = np.tile(images.shape[1:3], (len(images), 1))
            boxes = torch.from_numpy(random_boxes(draws.boxes, sizes, augment.scale))
            images = resample(images.float(), boxes.to(self.device, torch.float32), self.size)
        elif augment.crop == "pad" and augment.padding:
            images = shift(images, (uniform[:, :2] * (2 * augment.padding + 1)).long(), augment.padding)
        if augment.flip:
            images = torch.where(uniform[:, 2, None, None, None] < 0.5, images.flip(2), images)
        return images

    def normalise(self, images: Tensor) -> Float[Tensor, "b c h w"]:
        """(image / 255 - mean) / std; whole rows at a time, several times faster than three by three."""
        b, h, w, c = images.shape
        x = images.reshape(b, h, w * c).float()
        x = x.mul_(self.scale.repeat(w)).add_(self.bias.repeat(w))
        return x.view(b, h, w, c).permute(0, 3, 1, 2)


def shift(
    images: UInt8[Tensor, "b h w c"], offset: Int[Tensor, "b 2"], padding: int
) -> UInt8[Tensor, "b h w c"]:
    """A window of each image after zero padding, `offset` (0 ... 2 padding) px down and right in it."""
    h, w = images.shape[1:3]
    windows = F.pad(images, (0, 0, padding, padding, padding, padding)).unfold(1, h, 1).unfold(2, w, 1)
    row = torch.arange(len(images), device=images.device)
    return windows[row, offset[:, 0], offset[:, 1]].permute(0, 2, 3, 1)


def cover(x: Float[Tensor, "b c h w"], uniform: Float[Tensor, "b 2"], side: int) -> None:
    """Set a square of each image to 0, in place; its middle is any pixel, so borders may cut it off.

    Source: DeVries and Taylor 2017, arXiv 1708.04552, section 3.2.
    """

    def inside(draw: Tensor, length: int) -> Tensor:
        first = (draw * length).long()[:, None] - side // 2
        place = torch.arange(length, device=x.device)
        return (place >= first) & (place < first + side)

    down, right = inside(uniform[:, 0], x.shape[2]), inside(uniform[:, 1], x.shape[3])
    x.masked_fill_((down[:, :, None] & right[:, None, :])[:, None], 0)
