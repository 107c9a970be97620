"""Non-local block: each position gathers from all positions, by their likeness."""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from attnbench.mechanisms.base import Card, Mechanism, Place
from attnbench.mechanisms.layers.segmentation_head import CrissCrossHead, inside
from attnbench.mechanisms.layers.sizes import known

AFFINITIES = ("embedded", "gaussian", "dot", "concatenation")
MANY = 1024  # positions, from which on the affinity matrix is not worth writing down


class NonLocal(Mechanism):
    """y = x + BN(W_z (A g(x'))), x' being x after 2x2 max pooling, with affinities A (b, h w, h' w').

    `affinity`: `embedded` softmax(θ(x) φ(x') / sqrt(d)); `gaussian` softmax(x x' / sqrt(c)), without θ and φ;
    `dot` θ(x) φ(x') / n over n keys; `concatenation` relu(w [θ(x), φ(x')]) / n. The division by the root is
    the code's, not the paper's: `scale=False`. Pooling stands before φ and g, which is not the same as
    behind them. `space_time=True` takes clips (b t c h w) and relates the positions of all frames, pooled
    frame by frame; else a clip's frames are images by themselves. Weights start from N(0, 0.01²) and the
    norm's from 0, so that the block is the identity. Sources: facebookresearch/video-nonlocal-net and
    SlowFast; AlexHex7/Non-local_pytorch for the forms that they leave out.
    """

    card = Card(
        title="Non-local Neural Networks",
        venue="CVPR 2018",
        url="https://arxiv.org/abs/1711.07971",
        tasks=("Action", "Det", "ISeg"),
        g="dot product of queries and keys -> softmax",
        range=(0.0, 1.0),
        soft=True,
        goals=("capture long-range dependence",),
        params=lambda c: 4 * c * max(c // 2, 1) + 3 * max(c // 2, 1) + 3 * c,
        site="late",
        identity=True,
    )

    def __init__(
        self,
        channels: int,
        reduction: int = 2,
        affinity: Literal["embedded", "gaussian", "dot", "concatenation"] = "embedded",
        pool: bool = True,
        scale: bool = True,
        space_time: bool = False,
    ) -> None:
        super().__init__()
        self.affinity, self.pool = affinity, pool
        self.reads = "clip" if space_time else "map"
        width = max(channels // reduction, 1)
        compared = channels if affinity == "gaussian" else width
        self.scale = compared**-0.5 if scale else 1.0
        if affinity != "gaussian":
            self.theta = nn.Conv2d(channels, width, 1)
            self.phi = nn.Conv2d(channels, width, 1)
        if affinity == "concatenation":
            self.concat = nn.Linear(2 * width, 1, bias=False)
        self.value = nn.Conv2d(channels, width, 1)
        self.out = nn.Conv2d(width, channels, 1)
        self.norm = nn.BatchNorm2d(channels)
        self.initialise()

    def initialise(self) -> None:
        """Small weights and no biases; the norm's weight is 0 too."""
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.01) if parameter.dim() > 1 else nn.init.zeros_(parameter)

    def pooled(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c k l"]:
        """Where keys and values come from; an axis of length 1 is not pooled, and none of time."""
        if not self.pool:
            return one_map(x)
        window = [min(n, 2) for n in x.shape[-2:]]
        if x.dim() == 4:
            return F.max_pool2d(x, window)
        return one_map(F.max_pool2d(x.flatten(0, 1), window).unflatten(0, x.shape[:2]))

    def compared(self, x: Tensor, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (b, n, d) and keys (b, m, d)."""
        if self.affinity == "gaussian":
            return tokens(x), tokens(pooled)
        return tokens(self.theta(x)), tokens(self.phi(pooled))

    def terms(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """What each query (b, n, 1) and each key (b, m, 1) add to w [θ, φ]."""
        of_query, of_key = self.concat.weight.chunk(2, 1)
        return F.linear(q, of_query), F.linear(k, of_key)

    @classmethod
    def head(cls, place: Place, **options: Any) -> nn.Module:
        """mmsegmentation's for non-local networks."""
        return CrissCrossHead(place, cls.at(inside(place), **options))

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n m"]:
        q, k = self.compared(one_map(x), self.pooled(x))
        if self.affinity == "dot":
            return q @ k.transpose(1, 2) / k.shape[1]
        if self.affinity == "concatenation":
            a, b = self.terms(q, k)
            return (a + b.transpose(1, 2)).relu() / k.shape[1]
        with torch.autocast(x.device.type, enabled=False):
            wide = torch.promote_types(q.dtype, torch.float32)
            return (q.to(wide) * self.scale @ k.to(wide).transpose(1, 2)).softmax(2)

    def f(self, g: Float[Tensor, "b n m"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """x + BN(W_z (g · values)), the values being those of the pooled x."""
        values = tokens(self.value(self.pooled(x)))
        return self.add(g.to(values.dtype) @ values, x)

    def add(self, gathered: Float[Tensor, "b n d"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        one = one_map(x)
        maps = gathered.transpose(1, 2).unflatten(2, one.shape[2:])
        y = one + self.norm(self.out(maps))
        return y if x.dim() == 4 else y.unflatten(2, (x.shape[1], x.shape[3])).transpose(1, 2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if self.affinity not in ("dot", "concatenation"):
            return self.block(x)
        with torch.autocast(x.device.type, enabled=False):  # without a softmax, half precision overflows
            return self.block(x.to(self.out.weight.dtype)).to(x.dtype)

    def block(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The output, by the way that is faster at the map's size."""
        one = one_map(x)
        few = known(*one.shape[2:]) and one.shape[2] * one.shape[3] < MANY
        if few and self.affinity in ("gaussian", "concatenation"):
            return self.f(self.g(x), x)
        pooled = self.pooled(x)
        q, k = self.compared(one, pooled)
        return self.add(self.gather(q, k, tokens(self.value(pooled))), x)

    def gather(self, q: Tensor, k: Tensor, v: Tensor) -> Float[Tensor, "b n d"]:
        """A v without A, where that is cheaper: memory grows with n + m, not with n m."""
        if self.affinity == "concatenation":
            return gather_relu(*self.terms(q, k), v)
        if self.affinity == "dot":
            n, m, d = q.shape[1], *k.shape[1:]
            by_keys = not known(n, m) or d * (n + m) < 2 * n * m
            k = k / m
            return q @ (k.transpose(1, 2) @ v) if by_keys else q @ k.transpose(1, 2) @ v
        width = v.shape[2]
        v = F.pad(v, (0, q.shape[2] - width))  # the fused kernels take equal widths only
        y = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], scale=self.scale)
        return y[:, 0, :, :width]


def one_map(x: Tensor) -> Float[Tensor, "b c h w"]:
    """A map as it is; a clip's (b t c h w), one below the other."""
    return x if x.dim() == 4 else x.transpose(1, 2).flatten(2, 3)


def tokens(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n c"]:
    """The map's positions, one after the other."""
    return x.flatten(2).transpose(1, 2).contiguous()


def gather_relu(
    a: Float[Tensor, "b n 1"], b: Float[Tensor, "b m 1"], v: Float[Tensor, "b m d"]
) -> Float[Tensor, "b n d"]:
    """Σ_j relu(a_i + b_j) v_j / m, from running sums over the keys by descending b.

    The j with b_j > -a_i come first in that order, and over them the sum is a_i Σ v_j + Σ b_j v_j.
    """
    wide = torch.promote_types(v.dtype, torch.float32)
    a, b, v = a.to(wide), b.to(wide), v.to(wide)
    b, order = b.sort(1, descending=True)
    v = v.gather(1, order.expand_as(v))
    sums = F.pad(torch.cat((v, b * v), 2).cumsum(1), (0, 0, 1, 0))
    count = torch.searchsorted(-b.detach()[..., 0], a.detach()[..., 0])
    of_v, of_bv = sums.gather(1, count[..., None].expand(-1, -1, sums.shape[2])).chunk(2, 2)
    return (a * of_v + of_bv) / v.shape[1]
