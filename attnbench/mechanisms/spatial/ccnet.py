"""CCNet: each position attends to its own row and column; two rounds of it reach the whole map."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism, Place
from attnbench.mechanisms.layers.precision import full_precision
from attnbench.mechanisms.layers.segmentation_head import CrissCrossHead, inside


class CCNet(Mechanism):
    """x <- x + gamma sum_j a_j v_j over the row and the column of a position, `recurrence` times.

    a = softmax(q · k), without a scale, over the h + w entries of column and row together; the position
    itself lies in both and counts once, in its row. All rounds share their weights, and gamma starts at
    zero. g holds the maps of all rounds; no (positions, positions) map is made. Source:
    speedinghzl/CCNet; its head's 3x3 convolutions around the attention are not part of this module.
    """

    card = Card(
        title="CCNet: Criss-Cross Attention for Semantic Segmentation",
        venue="ICCV 2019",
        url="https://arxiv.org/abs/1811.11721",
        tasks=("SSeg", "Det", "ISeg"),
        g="dot product between a position's query and the keys of its row and column -> softmax, twice",
        range=(0.0, 1.0),
        soft=True,
        goals=("capture long-range dependencies", "reduce the cost of dense self-attention"),
        params=lambda c: 2 * max(c // 8, 1) * (c + 1) + c * c + c + 1,
        site=("head", "late"),
        identity=True,
    )

    def __init__(self, channels: int, reduction: int = 8, recurrence: int = 2) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.query = nn.Conv2d(channels, hidden, 1)
        self.key = nn.Conv2d(channels, hidden, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))
        self.recurrence = recurrence

    @classmethod
    def head(cls, place: Place, **options: Any) -> nn.Module:
        """CCNet's, with its leaky ReLUs."""
        return CrissCrossHead(place, cls.at(inside(place), **options), slope=0.01)

    def round(self, a: Float[Tensor, "b h w h+w"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """One application of one map."""
        return (self.gamma * collect(a, self.value(x)) + x).to(x.dtype)

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b rounds h w h+w"]:
        maps = []
        for _ in range(self.recurrence):
            maps.append(criss_cross(self.query(x), self.key(x)))
            x = self.round(maps[-1], x)
        return torch.stack(maps, 1)

    def f(self, g: Float[Tensor, "b rounds h w h+w"], x: Float[Tensor, "b c h w"]) -> Tensor:
        for a in g.unbind(1):
            x = self.round(a, x)
        return x

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        for _ in range(self.recurrence):
            x = self.round(criss_cross(self.query(x), self.key(x)), x)
        return x


@full_precision
def criss_cross(q: Float[Tensor, "b d h w"], k: Float[Tensor, "b d h w"]) -> Float[Tensor, "b h w h+w"]:
    """Weights of the column's h entries, of which the position's own is 0, then of the row's w."""
    column = q.permute(0, 3, 2, 1) @ k.permute(0, 3, 1, 2)
    own = torch.eye(column.shape[2], dtype=torch.bool, device=column.device)
    column.masked_fill_(own, -torch.inf)
    row = q.permute(0, 2, 3, 1) @ k.permute(0, 2, 1, 3)
    return torch.cat([column.transpose(1, 2), row], 3).softmax(3)


def collect(a: Float[Tensor, "b h w h+w"], v: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """The weighted sums of the values along columns and rows."""
    of_column, of_row = a.to(v.dtype).split(v.shape[2:], 3)
    column = v.permute(0, 3, 1, 2) @ of_column.permute(0, 2, 3, 1)
    row = v.permute(0, 2, 1, 3) @ of_row.transpose(2, 3)
    return column.permute(0, 2, 3, 1) + row.transpose(1, 2)
