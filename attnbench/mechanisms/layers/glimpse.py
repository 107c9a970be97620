"""Glimpses: square crops of an image around a point, the larger ones averaged down to the smallest."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from attnbench.errors import UserError


class Retina(nn.Module):
    """Crops of size, factor · size, factor² · size, … px around one centre, each averaged to size x size.

    A crop of n px reaches from n // 2 left of (above) its centre; outside the image are zeros.
    """

    offsets: Tensor

    def __init__(self, size: int, scales: int = 1, factor: int = 2) -> None:
        super().__init__()
        if min(size, scales, factor) < 1:
            raise UserError(
                f"glimpses of size {size}, {scales} scales, factor {factor}: 1 is the least of each"
            )
        self.size = size
        self.sides = [size * factor**scale for scale in range(scales)]
        self.register_buffer(
            "offsets", torch.arange(max(self.sides)) - max(self.sides) // 2, persistent=False
        )

    @property
    def pixels(self) -> int:
        """How many a glimpse reads."""
        return sum(side**2 for side in self.sides)

    def forward(
        self, images: Float[Tensor, "b c h w"], points: Float[Tensor, "b m 2"]
    ) -> Float[Tensor, "bm kc s s"]:
        """Of each image at m points (x, y) from -1 to 1: all scales, one after the other as channels."""
        h, w = images.shape[2:]
        x, y = ((points + 1) / 2).unbind(2)
        x, y = (x * w).floor().long(), (y * h).floor().long()
        index = self.near(y, h)[..., None] * (w + 1) + self.near(x, w)[..., None, :]
        flat = F.pad(images, (0, 1, 0, 1)).flatten(2)
        read = flat.gather(2, index.flatten(1)[:, None].expand(-1, images.shape[1], -1))
        largest = read.unflatten(2, index.shape[1:]).transpose(1, 2).flatten(0, 1)
        return torch.cat([self.averaged(largest, side) for side in self.sides], 1)

    def near(self, middle: Int[Tensor, "b m"], end: int) -> Int[Tensor, "b m s"]:
        """Rows (columns) of the largest crop; `end`, where zeros are, stands for those outside."""
        at = middle[..., None] + self.offsets
        return at.where((at >= 0) & (at < end), end)

    def averaged(self, largest: Float[Tensor, "n c l l"], side: int) -> Float[Tensor, "n c s s"]:
        """The crop of `side` px around the same centre, resized to the smallest's size."""
        first = max(self.sides) // 2 - side // 2
        crop = largest[..., first : first + side, first : first + side]
        return crop if side == self.size else F.avg_pool2d(crop, side // self.size)
