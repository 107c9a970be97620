"""Stand-alone self-attention: instead of a convolution, attend to the k x k positions around."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import Impossible, UserError
from attnbench.mechanisms.base import Card
from attnbench.mechanisms.layers import windows
from attnbench.mechanisms.layers.conv import Replacement
from attnbench.mechanisms.layers.precision import full_precision

NARROWEST = 8  # channels of a head, before there are fewer heads


class SASA(Replacement):
    """y_p = sum_D softmax_D(q_p · k_{p+D} + q_p · r_D) v_{p+D}, D over a k x k window, in each of the heads.

    q, k, v are 1x1 convolutions without bias; r_D is, in each head, the embedding of the row offset over
    that of the column offset. No scale divides the scores. `border` says what lies outside the map:
    `mask`, nothing; `zero`, keys and values of zero that take part in the softmax, as in the
    re-implementations. Averages of `stride` positions follow where the convolution has a stride. Heads
    have at least 8 channels: there are fewer on narrow maps. g is the weights (b, heads, k^2, h, w).
    The authors' folder holds no code; parameters are leaderj1001/Stand-Alone-Self-Attention's, whose
    softmax, one for each channel, is not the paper's.
    """

    card = Card(
        title="Stand-Alone Self-Attention in Vision Models",
        venue="NeurIPS 2019",
        url="https://arxiv.org/abs/1906.05909",
        tasks=("Cls", "Det"),
        g="dot product between a query and the keys and relative embeddings of its window -> softmax",
        range=(0.0, 1.0),
        soft=True,
        goals=("replace convolution by local self-attention",),
        params=lambda c: 3 * c * c + 7 * c,
        site="conv",
    )

    def __init__(
        self,
        channels: int,
        conv: nn.Conv2d,
        kernel: int = 7,
        heads: int = 8,
        border: Literal["mask", "zero"] = "mask",
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise UserError(f"sasa: kernel={kernel}, but a window around a position has an odd size")
        width = conv.out_channels
        self.heads = min(heads, max(width // NARROWEST, 1))
        if width % (2 * self.heads):
            raise Impossible(f"{width} channels do not divide into {self.heads} heads of even width")
        self.rows = nn.Parameter(torch.empty(width // 2, kernel))
        self.columns = nn.Parameter(torch.empty(width // 2, kernel))
        self.query = nn.Conv2d(channels, width, 1, bias=False)
        self.key = nn.Conv2d(channels, width, 1, bias=False)
        self.value = nn.Conv2d(channels, width, 1, bias=False)
        for layer in (self.query, self.key, self.value):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
        for embedding in (self.rows, self.columns):
            nn.init.normal_(embedding, std=(width // self.heads) ** -0.5)
        self.kernel, self.border, self.stride = kernel, border, conv.stride

    def split(self, x: Float[Tensor, "b c h w"], pad: bool = True) -> Float[Tensor, "b heads d h w"]:
        """The heads apart, with zeros around the map."""
        x = F.pad(x, 4 * (self.kernel // 2,)) if pad else x
        return x.unflatten(1, (self.heads, -1))

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b heads k*k h w"]:
        query, key = self.split(self.query(x), pad=False), self.split(self.key(x))
        return weights(query, key, self.rows, self.columns, self.border == "mask")

    def f(self, g: Float[Tensor, "b heads k*k h w"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        values = self.split(self.value(x))
        y = windows.weighted_sum(g.to(values.dtype), values, self.kernel).flatten(1, 2)
        if self.stride != (1, 1):
            y = F.avg_pool2d(y, self.stride, ceil_mode=True)
        return y.to(x.dtype)


@full_precision
def weights(
    q: Float[Tensor, "b heads d h w"],
    k: Float[Tensor, "b heads d H W"],
    rows: Float[Tensor, "heads*d/2 k"],
    columns: Float[Tensor, "heads*d/2 k"],
    masked: bool,
) -> Float[Tensor, "b heads k*k h w"]:
    """The softmax of scores and relative scores, the latter from a table for rows and one for columns."""
    by_row, by_column = (
        torch.einsum("bgdhw,gdk->bgkhw", half, table.to(q.dtype).unflatten(0, (q.shape[1], -1)))
        for half, table in zip(q.chunk(2, 2), (rows, columns))
    )
    kernel = rows.shape[1]
    if masked:
        outside_rows, outside_columns = (outside(n, kernel, q.device) for n in q.shape[3:])
        by_row = by_row.masked_fill(outside_rows[:, :, None], -torch.inf)
        by_column = by_column.masked_fill(outside_columns[:, None], -torch.inf)
    relative = by_row[:, :, :, None] + by_column[:, :, None]
    return (windows.scores(q, k, kernel) + relative.flatten(2, 3)).softmax(2)


def outside(length: int, kernel: int, device: torch.device) -> Float[Tensor, "k length"]:
    """Whether the entry at each offset lies beyond the border, for each position of an axis."""
    offsets = torch.arange(kernel, device=device)[:, None] - kernel // 2
    reached = torch.arange(length, device=device) + offsets
    return (reached < 0) | (reached >= length)
