"""Local relation layer: instead of a convolution, weigh a window's positions by likeness and geometry."""

from collections.abc import Callable
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

RELATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "dot": lambda q, k: q * k,
    "abs": lambda q, k: -(q - k).abs(),
    "abs_norm": lambda q, k: -(q - k).abs() / (q.abs() + k.abs() + 1),
    "square_norm": lambda q, k: -(q - k).square() / ((q * k).abs() + 1),
    "square": lambda q, k: -(q - k).square(),
}
OUTSIDE = -100.0  # what stands for the likeness of a key beyond the border


class LRNet(Replacement):
    """y_p = W_o sum_D softmax_D(relation(q_p, k_{p+D}) + geometry(D)) x_{p+D}, D over a k x k window.

    Every `share` channels have one query and one key number and one map of weights. The geometry prior
    is an MLP of the offset (2, groups / 2 and groups units), equal at all positions. A key
    beyond the border has likeness -100, and its x counts as zero. `relation` is one of the six of the
    authors' operator; `key` has no query. With a stride, only every second position asks. g is the
    weights (b, groups, k^2, h, w). Source: microsoft/Swin-Transformer, branch LR-Net, which has the
    operator alone; the layer around it is the paper's.
    """

    card = Card(
        title="Local Relation Networks for Image Recognition",
        venue="ICCV 2019",
        url="https://arxiv.org/abs/1904.11491",
        tasks=("Cls",),
        g="relation between a query and its window's keys, and geometry prior -> softmax",
        range=(0.0, 1.0),
        soft=True,
        goals=("replace convolution by local relations",),
        params=lambda c: (
            lambda g: 2 * g * (c + 1) + c * c + c + 3 * max(g // 2, 1) + g * max(g // 2, 1) + g
        )(max(c // 8, 1)),
        site="conv",
    )

    def __init__(
        self,
        channels: int,
        conv: nn.Conv2d,
        kernel: int = 7,
        share: int = 8,
        relation: Literal["dot", "key", "abs", "abs_norm", "square_norm", "square"] = "square",
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise UserError(f"lr_net: kernel={kernel}, but a window around a position has an odd size")
        if channels % min(share, channels):
            raise Impossible(f"{channels} channels do not divide into groups of {share}")
        if conv.stride[0] != conv.stride[1]:
            raise Impossible(f"it has one stride for both axes, not {conv.stride}")
        groups = max(channels // share, 1)
        hidden = max(groups // 2, 1)
        self.query = nn.Conv2d(channels, groups, 1) if relation != "key" else None
        self.key = nn.Conv2d(channels, groups, 1)
        self.geometry = nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, groups))
        self.expand = nn.Conv2d(channels, conv.out_channels, 1)
        self.relation = relation  # by name, as functions without one cannot be pickled
        self.kernel, self.stride = kernel, int(conv.stride[0])

    def prior(self) -> Float[Tensor, "groups k*k"]:
        """What the geometry of each offset, in positions, adds to all scores."""
        weight = self.key.weight
        axis = torch.arange(self.kernel, device=weight.device, dtype=weight.dtype) - self.kernel // 2
        offsets = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), 2).flatten(0, 1)
        return self.geometry(offsets).T

    def padded(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c H W"]:
        return F.pad(x, 4 * (self.kernel // 2,))

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b groups k*k i j"]:
        """The weights: each sums up to one over its window."""
        query = self.query(x[:, :, :: self.stride, :: self.stride]) if self.query is not None else None
        likeness = self.likeness(self.padded(self.key(x)), query)
        inside = windows.neighbours(self.padded(torch.ones_like(x[:1, :1])), self.kernel, self.stride) > 0
        scores = likeness.where(inside, OUTSIDE) + self.prior()[:, :, None, None].to(likeness.dtype)
        return scores.softmax(2)

    @full_precision
    def likeness(self, k: Float[Tensor, "b groups H W"], q: Float[Tensor, "b groups i j"] | None) -> Tensor:
        k = windows.neighbours(k, self.kernel, self.stride)
        return k if q is None else RELATIONS[self.relation](q[:, :, None], k)

    def f(
        self, g: Float[Tensor, "b groups k*k i j"], x: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b d i j"]:
        values = self.padded(x).unflatten(1, (g.shape[1], -1))
        y = windows.weighted_sum(g.to(x.dtype), values, self.kernel, self.stride)
        return self.expand(y.flatten(1, 2))
