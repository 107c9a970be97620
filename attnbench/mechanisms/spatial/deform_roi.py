"""Deformable RoI pooling: average each bin of a box where the box's own content says it should be."""

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import UserError
from attnbench.mechanisms.base import Card, Mechanism

GAMMA = 0.1  # an offset of 1 moves a bin by this share of its box
POOLS = ("plain", "sensitive")


class DeformRoI(Mechanism):
    """y = the bins of a fixed grid of boxes, side by side, averaged to x's size; each bin has an offset.

    A network has boxes from elsewhere; here `grid` x `grid` of them part the map (1: it is one box), each
    of `bins` x `bins` bins; the mean over positions is about that over bins. Boxes are first pooled without
    offsets. `version=1` predicts from that, by one linear layer that starts from 0, where each bin moves;
    `version=2` has two layers of `hidden` units before it, and a mask sigmoid(m) for each bin.
    `pool="sensitive"` is R-FCN's: 1x1 convolutions make a map for each bin and channel, and maps
    of the offsets, which are pooled in the same way.

    A bin is the mean of `samples` x `samples` points from its upper left corner on, without a half step,
    read bilinearly; points more than half a position outside the map do not count. What predicts the offsets
    learns at `offset_lr` times the recipe's rate.
    Sources: msracver/Deformable-ConvNets, open-mmlab/mmcv.
    """

    card = Card(
        title="Deformable Convolutional Networks",
        venue="ICCV 2017",
        url="https://arxiv.org/abs/1703.06211",
        tasks=("Det", "SSeg"),
        g="RoI pooling -> linear layer -> offsets of bins",
        range=None,
        soft=True,
        goals=("attend to deformed parts of a region",),
        params=lambda c: 98 * 49 * c + 98,
        site="stage",
    )

    def __init__(
        self,
        channels: int,
        grid: int = 1,
        bins: int = 7,
        version: Literal[1, 2] = 1,
        pool: Literal["plain", "sensitive"] = "plain",
        samples: int = 4,
        hidden: int = 1024,
        offset_lr: float = 0.01,
    ) -> None:
        super().__init__()
        if version not in (1, 2):
            raise UserError(f"deform_roi: there is no version {version}; 1 or 2")
        self.grid, self.bins, self.samples, self.sensitive = grid, bins, samples, pool == "sensitive"
        self.offset_lr = offset_lr
        outputs = (1 + version) * bins**2
        if self.sensitive:
            last: nn.Module = nn.Conv2d(channels, outputs, 1)
            self.offset, self.score = last, nn.Conv2d(channels, channels * bins**2, 1)
        else:
            widths = [channels * bins**2, *([hidden, hidden] if version == 2 else [])]
            layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
            last = nn.Linear(widths[-1], outputs)
            self.offset = nn.Sequential(*layers, last)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

    def lr_scale(self) -> dict[str, float]:
        return {f"offset.{name}": self.offset_lr for name, _ in self.offset.named_parameters()}

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b m p"]:
        """Shifts right and down of each of m bins, as shares of their boxes, and in version 2 its mask."""
        wide = torch.promote_types(x.dtype, torch.float32)
        at_rest = x.new_zeros(1, self.grid**2 * self.bins**2, 2, dtype=wide)
        if self.sensitive:
            z = self.chosen(self.pooled(self.offset(x), at_rest)).transpose(1, 2)
        else:
            boxes = self.pooled(x, at_rest).unflatten(2, (-1, self.bins**2)).transpose(1, 2).flatten(2)
            z = self.offset(boxes).unflatten(2, (-1, self.bins**2)).transpose(2, 3).flatten(1, 2)
        return torch.cat((GAMMA * z[..., :2], z[..., 2:].sigmoid()), 2).to(wide)

    def f(self, g: Float[Tensor, "b m p"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The moved bins where they belong in the grid, averaged to the map's size."""
        if self.sensitive:
            z = self.chosen(self.pooled(self.score(x), g[..., :2]))
        else:
            z = self.pooled(x, g[..., :2])
        z = z * g[:, None, :, 2].to(z.dtype) if g.shape[2] == 3 else z
        z = z.unflatten(2, (self.grid, self.grid, self.bins, self.bins)).transpose(3, 4)
        return F.adaptive_avg_pool2d(z.flatten(4, 5).flatten(2, 3), (x.shape[2], x.shape[3]))

    def chosen(self, z: Float[Tensor, "b k m"]) -> Float[Tensor, "b c m"]:
        """Of maps for each channel and bin, bins varying faster, the one that belongs to each bin."""
        parts = z.unflatten(1, (-1, self.bins**2)).unflatten(3, (-1, self.bins**2))  # b c k box k
        return parts.diagonal(dim1=2, dim2=4).flatten(2)

    def pooled(self, x: Float[Tensor, "b c h w"], shift: Float[Tensor, "b m 2"]) -> Float[Tensor, "b c m"]:
        """Means over bins; a bin's weights are a product of some for rows and some for columns."""
        h, w = x.shape[2:]
        of_rows, of_columns = (self.weights(n, shift[..., 1 - axis], axis) for axis, n in enumerate((h, w)))
        with torch.autocast(x.device.type, enabled=False):
            wide = x.to(of_rows.dtype)
            by_row = (of_rows @ wide.transpose(1, 2).flatten(2)).unflatten(2, (-1, w))  # b m c w
            return torch.einsum("bmcw,bmw->bcm", by_row, of_columns.expand(x.shape[0], -1, -1)).to(x.dtype)

    def weights(self, n: int, shift: Float[Tensor, "b m"], axis: int) -> Float[Tensor, "b m n"]:
        """Share of each of n rows (axis 0) or columns (1) in the bins, by the kernel of the authors."""
        box, bin_ = self.numbers(shift.device, axis)
        edges = torch.arange(self.grid + 1, device=shift.device, dtype=shift.dtype).mul(n / self.grid)
        edges = edges.add(0.5).floor()
        start, side = edges[box] - 0.5, (edges[box + 1] - edges[box]).clamp_min(0.1)
        step = side / (self.bins * self.samples)
        first = start + bin_ * side / self.bins + shift * side
        points = first[..., None] + step[:, None] * torch.arange(self.samples, device=shift.device)
        kept = ((points >= -0.5) & (points <= n - 0.5)).to(shift.dtype)
        points = points.clamp(0, n - 1)[..., None]
        low = points.detach().floor()
        position = torch.arange(n, device=shift.device)
        near = torch.where(position == low, 1 - (points - low), (position == low + 1) * (points - low))
        share = kept / kept.sum(-1, keepdim=True).clamp_min(1)
        return (near * share[..., None]).sum(-2)

    def numbers(self, device: torch.device, axis: int) -> tuple[Tensor, Tensor]:
        """Of each of all bins, box after box, the box's and the bin's own number along an axis."""
        at = torch.arange(self.grid**2 * self.bins**2, device=device)
        box, own = at // self.bins**2, at % self.bins**2
        return (box // self.grid, own // self.bins) if axis == 0 else (box % self.grid, own % self.bins)
