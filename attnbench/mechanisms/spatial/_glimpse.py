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
        squares = [torch.arange(n) - n // 2 for n in self.sides]
        grids = [torch.stack(torch.meshgrid(s, s, indexing="ij")).flatten(1) for s in squares]
        self.register_buffer("offsets", torch.cat(grids, 1), persistent=False)

    @property
    def pixels(self) -> int:
        """How many a glimpse reads."""
        return sum(side**2 for side in self.sides)

    def forward(
        self, images: Float[Tensor, "b c h w"], points: Float[Tensor, "b m 2"]
    ) -> Float[Tensor, "bm kc s s"]:
        """Of each image at m points (x, y) from -1 to 1: all scales, one after the other as channels."""
        channels = images.shape[1]
        index = self.positions(points, images.shape[2], images.shape[3])
        flat = F.pad(images.flatten(2), (0, 1))
        read = flat.gather(2, index.flatten(1)[:, None].expand(-1, channels, -1))
        read = read.unflatten(2, index.shape[1:]).transpose(1, 2).flatten(0, 1)
        parts = read.split([side**2 for side in self.sides], 2)
        return torch.cat([self.averaged(p, side) for p, side in zip(parts, self.sides)], 1)

    def positions(self, points: Float[Tensor, "b m 2"], h: int, w: int) -> Int[Tensor, "b m p"]:
        """Where each glimpse's pixels lie among the image's, row by row; h w stands for those outside."""
        x, y = ((points + 1) / 2 * points.new_tensor([w, h])).floor().long().unbind(2)
        rows, columns = y[..., None] + self.offsets[0], x[..., None] + self.offsets[1]
        inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
        return (rows * w + columns).where(inside, h * w)

    def averaged(self, part: Float[Tensor, "n c p"], side: int) -> Float[Tensor, "n c s s"]:
        crop = part.unflatten(2, (side, side))
        return crop if side == self.size else F.avg_pool2d(crop, side // self.size)
