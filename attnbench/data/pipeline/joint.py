"""uint8 images and masks -> what the network sees and shall say, a batch at a time on the device.

Image and mask move together: scale, crop and flip; colours change in the image alone.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from attnbench.config.recipe import Augment
from attnbench.config.schema import Data
from attnbench.data.pipeline.augment import Pixels
from attnbench.data.pipeline.crop import weights
from attnbench.data.pipeline.masks import IGNORE
from attnbench.data.pipeline.order import Draws

HUE = 0.2  # of jitter: how far hues move, as a share of the circle
LEVELS = 64  # of jitter: how far brightness moves, of 255


class View(NamedTuple):
    """A window onto images that are scaled first: where it begins in the scaled images, and how they are."""

    size: tuple[int, int]  # of the window, px
    begin: Float[Tensor, "b 2"]  # down, right, px; below 0 where the window begins before the image
    scale: Float[Tensor, " b"]
    inner: Float[Tensor, "b 2"]  # height and width of the unscaled images that are no padding

    def places(self, axis: int) -> Float[Tensor, "b n"]:
        """Where the window's rows (axis 0) or columns (1) have their middles in the unscaled images."""
        at = torch.arange(self.size[axis], device=self.begin.device) + 0.5
        return (self.begin[:, axis, None] + at) / self.scale[:, None]

    @property
    def seen(self) -> Bool[Tensor, "b n m"]:
        """Which of the window's pixels show the image."""
        return self.inside(0)[:, :, None] & self.inside(1)[:, None, :]

    def inside(self, axis: int) -> Bool[Tensor, "b n"]:
        at = self.places(axis)
        return (at >= 0) & (at < self.inner[:, axis, None])


class Joint:
    """From a batch of images and masks as they are stored to a batch for the network."""

    def __init__(self, data: Data, device: torch.device) -> None:
        self.size = data.image[1:]
        self.pixels = Pixels(data, device)
        self.device = device

    def __call__(
        self,
        images: UInt8[Tensor, "b h w c"],
        masks: UInt8[Tensor, "b h w"],
        inner: Int[np.ndarray, "b 2"],
        draws: Draws | None = None,
        augment: Augment | None = None,
    ) -> tuple[Float[Tensor, "b c h w"], Int[Tensor, "b h w"]]:
        """Augment (where drawn) and normalise; channels_last. `inner`: height and width without padding.

        What lies outside of an image is 0, which is the mean, and ignored in the mask.
        """
        if draws is None or augment is None:
            return self.pixels.normalise(images), masks.long()
        if augment.jitter:
            images = jitter(images, draws.view[:, 1:], augment.jitter)
        outside = None
        if augment.crop != "none":
            view = self._view(draws, augment, inner, masks)
            images, masks = sample(images, view), pick(masks, view)
            outside = ~view.seen
            masks = masks.masked_fill(outside, IGNORE)
        x = self.pixels.normalise(images)
        if outside is not None:
            x.masked_fill_(outside[:, None], 0)
        if augment.flip:
            mirrored = torch.from_numpy(draws.uniform[:, 2] < 0.5).to(self.device)[:, None, None]
            x = torch.where(mirrored[:, None], x.flip(3), x)
            masks = torch.where(mirrored, masks.flip(2), masks)
        return x.contiguous(memory_format=torch.channels_last), masks.long()

    def _view(
        self, draws: Draws, augment: Augment, inner: Int[np.ndarray, "b 2"], masks: UInt8[Tensor, "b h w"]
    ) -> View:
        """The drawn window: whole px, so that an image that is not scaled stays as it is."""
        if augment.crop == "pad":
            scale = np.ones(len(inner))
            begin = np.floor(draws.uniform[:, :2] * (2 * augment.padding + 1)) - augment.padding
            return self._window(self.size, begin, scale, inner)
        low, high = augment.resize
        size = (augment.crop_size[0], augment.crop_size[1]) if augment.crop_size else self.size
        scale = low + draws.view[:, 0] * (high - low)
        room = np.rint(inner * scale[:, None]) - size  # below 0: the window is larger than the image
        begin = _begin(draws.uniform[:, :2], room)
        for again in draws.boxes[:, :, 2:].swapaxes(0, 1) if augment.max_class_share < 1 else ():
            view = self._window(size, begin, scale, inner)
            shares = class_share(pick(masks, view).masked_fill(~view.seen, IGNORE)).cpu().numpy()
            begin = np.where((shares < augment.max_class_share)[:, None], begin, _begin(again, room))
        return self._window(size, begin, scale, inner)

    def _window(
        self, size: tuple[int, int], begin: np.ndarray, scale: np.ndarray, inner: Int[np.ndarray, "b 2"]
    ) -> View:
        parts = (torch.from_numpy(np.asarray(p, np.float32)).to(self.device) for p in (begin, scale, inner))
        return View(size, *parts)


def _begin(uniform: Float[np.ndarray, "b 2"], room: Float[np.ndarray, "b 2"]) -> Float[np.ndarray, "b 2"]:
    return np.floor(uniform * (np.abs(room) + 1)) * np.sign(room)


def class_share(masks: UInt8[Tensor, "b h w"]) -> Float[Tensor, " b"]:
    """The share of each mask's labelled pixels that its most frequent class has; 1 without any."""
    counts = torch.zeros(len(masks), 256, device=masks.device)
    flat = masks.flatten(1).long()
    counts.scatter_add_(1, flat, torch.ones_like(flat, dtype=counts.dtype))
    counts[:, IGNORE] = 0
    total = counts.sum(1)
    return torch.where(total > 0, counts.amax(1) / total.clamp(min=1), 1.0)


def sample(images: Tensor, view: View) -> Float[Tensor, "b h w c"]:
    """The images' pixels (b h w c) in the window, bilinear with antialiasing."""
    if bool((view.scale == 1).all()):
        return pick(images, view)
    length = torch.tensor(view.size, device=images.device) / view.scale[:, None]
    begin = view.begin / view.scale[:, None]
    rows, columns = (
        weights(begin[:, axis], length[:, axis], images.shape[1 + axis], view.size[axis]) for axis in (0, 1)
    )
    return torch.einsum("bih,bhwc,bjw->bijc", rows, images.float(), columns)


def pick(pixels: Tensor, view: View) -> Tensor:
    """The nearest of the pixels (b h w ...) for each of the window's; at the rim, the rim's."""
    rows, columns = (view.places(axis).long().clamp(0, pixels.shape[1 + axis] - 1) for axis in (0, 1))
    batch = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    return pixels[batch, rows[:, :, None], columns[:, None, :]]


def jitter(
    images: UInt8[Tensor, "b h w c"], drawn: Float[np.ndarray, "b 4"], strength: float
) -> UInt8[Tensor, "b h w c"]:
    """Change brightness, contrast, saturation and hue of each image, each with probability 1/2.

    Brightness moves by up to `LEVELS` times the strength, contrast and saturation are multiplied by 1 +-
    strength, hues move by up to `HUE` times the strength of the circle; contrast comes second or last.
    Source: mmsegmentation's PhotoMetricDistortion, which is strength 0.5.
    """
    from torchvision.transforms.v2 import functional

    out = torch.empty_like(images)
    for i, (brightness, contrast, saturation, hue) in enumerate(drawn.tolist()):
        image = images[i].permute(2, 0, 1)
        if (by := _change(brightness)) is not None:
            image = _levels(image, 1.0, LEVELS * strength * by)
        late = contrast >= 0.75  # of the half that changes the contrast, half comes last
        factor = None if contrast < 0.5 else 1 + strength * (8 * (contrast % 0.25) - 1)
        if factor is not None and not late:
            image = _levels(image, factor, 0.0)
        if (by := _change(saturation)) is not None:
            image = functional.adjust_saturation(image, 1 + strength * by)
        if (by := _change(hue)) is not None:
            image = functional.adjust_hue(image, HUE * strength * by)
        if factor is not None and late:
            image = _levels(image, factor, 0.0)
        out[i] = image.permute(1, 2, 0)
    return out


def _change(drawn: float) -> float | None:
    """A number of [-1, 1) from the upper half of [0, 1); None, no change, from the lower."""
    return None if drawn < 0.5 else 4 * drawn - 3


def _levels(image: UInt8[Tensor, "c h w"], factor: float, add: float) -> UInt8[Tensor, "c h w"]:
    return (image.float() * factor + add).clamp(0, 255).to(torch.uint8)
