"""uint8 images -> what the network sees, a batch at a time on the device: crop, flip, cutout, normalise."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from attnbench.config.recipe import Augment
from attnbench.config.schema import Data
from attnbench.data.pipeline.crop import resample
from attnbench.data.pipeline.order import Draws


class Pixels:
    """From a batch as it is stored to the batch that the network sees."""

    def __init__(self, data: Data, device: torch.device) -> None:
        self.size = data.size
        self.shape = data.image[1:]
        self.device = device
        std = torch.tensor(data.std, device=device)
        self.scale = 1 / (255 * std)
        self.bias = -torch.tensor(data.mean, device=device) / std

    def __call__(
        self,
        images: Tensor,
        draws: Draws | None = None,
        augment: Augment | None = None,
        boxes: Float[np.ndarray, "b 4"] | None = None,
    ) -> Float[Tensor, "b c height width"]:
        """Augment (where drawn) and normalise a batch (b h w c) of 0 ... 255 on the device; channels_last.

        `boxes`, in px of the images, are cut out first and resized to the network's size. Cutout comes
        last: its square holds the mean, which is 0.
        """
        if boxes is not None:
            where = torch.from_numpy(boxes.astype(np.float32)).to(self.device)
            images = resample(images.float(), where, self.size)
        if draws is None or augment is None:
            return self.resize(self.normalise(images))
        spans = [2 * augment.padding + 1] * 2 + [2, *self.shape]
        drawn = torch.from_numpy((draws.uniform * spans).astype(np.int64)).to(self.device)
        if augment.crop == "pad" and augment.padding:
            images = shift(images, drawn[:, :2], augment.padding)
        if augment.flip:
            images = torch.where(drawn[:, 2, None, None, None] == 0, images.flip(2), images)
        x = self.resize(self.normalise(images))
        if augment.cutout:
            cover(x, drawn[:, 3:], augment.cutout)
        return x

    def resize(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c height width"]:
        if x.shape[2:] == self.shape:
            return x
        return F.interpolate(x, self.shape, mode="bilinear", antialias=True)

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


def cover(x: Float[Tensor, "b c h w"], middle: Int[Tensor, "b 2"], side: int) -> None:
    """Set a square of each image to 0, in place; its middle is any pixel, so borders may cut it off.

    Source: DeVries and Taylor 2017, arXiv 1708.04552, section 3.2.
    """
    hit = []
    for at, length in zip(middle.unbind(1), x.shape[2:]):
        place = torch.arange(length, device=x.device)
        first = at[:, None] - side // 2
        hit.append((place >= first) & (place < first + side))
    x.masked_fill_((hit[0][:, :, None] & hit[1][:, None, :])[:, None], 0)
