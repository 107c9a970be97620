"""GSoP-Net: weigh channels, positions or both by their covariances, row by row."""

from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import UserError
from attnbench.mechanisms.base import Card, Mechanism, Place
from attnbench.mechanisms.layers.norm import PooledBatchNorm
from attnbench.mechanisms.layers.precision import matched
from attnbench.mechanisms.layers.taps import Tap, watch, widths

GUARD = 1e-12  # of the trace of a map that varies not at all
GRID = 8  # positions a side between which the spatial mode takes covariances
SLOPES = {"official": 1.0, "paper": 0.1}  # after the row convolution, below zero
MODES = ("channel", "spatial", "average", "max", "concat")


class GSoP(Mechanism):
    """Channel gate sigmoid(W RC(BN(cov v))), v = relu(BN(conv relu(x))) of `dim` channels.

    cov is the centred covariance over positions, BN works on its rows, and RC, a convolution for each
    row, makes 4 numbers of it. `dim` is the paper's 128 or, on narrower maps, c. The convolution has
    stride 2 in the first of several stages, unless `stride` says otherwise. The spatial gate,
    (b, 1, h, w), does the same between the positions of an 8x8 average of v; its covariance is the
    authors', (v'v - s s'/64)/64 with s the sums over channels, which centres too far by dim/64.

    `mode`: channel (GSoP-Net1, the default) gives g x; spatial relu(g x); average their sum; max their
    maximum; concat BN(conv(first) + conv(second)), grouped (k, 1) convolutions. In the last three the
    map is both gates, the channels' first. `variant="paper"` has the leaky ReLU that the paper draws
    after RC; the channel code has nothing there. GSoP-Net1 has its last stage at stride 1. At site `net2`
    the classifier is GSoP-Net2's, on the root of the last map's covariance, with blocks in the other stages;
    at site `gates` it is alone.
    Source: ZilinGao/Global-Second-order-Pooling-Convolutional-Networks.
    """

    card = Card(
        title="Global Second-order Pooling Convolutional Networks",
        venue="CVPR 2019",
        url="https://arxiv.org/abs/1811.12006",
        tasks=("Cls",),
        g="second-order pooling -> convolution and MLP -> sigmoid",
        range=(0.0, 1.0),
        soft=True,
        goals=("emphasise important channels", "capture global information"),
        params=lambda c: (lambda d: 4 * d * d + 9 * d + 5 * c * d + c)(min(128, c)),
        site="last_block",
    )

    def __init__(
        self,
        channels: int,
        dim: int | None = None,
        mode: Literal["channel", "spatial", "average", "max", "concat"] = "channel",
        stride: int | None = None,
        variant: Literal["official", "paper"] = "official",
    ) -> None:
        super().__init__()
        self.mode = mode
        dim = dim or min(128, channels)
        self.channel = ChannelGate(channels, dim, stride or 1, SLOPES[variant]) if mode != "spatial" else None
        self.spatial = SpatialGate(channels, dim) if mode != "channel" else None
        self.concat = Concat(channels) if mode == "concat" else None

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        if isinstance(place.replaces, nn.Linear):
            return classifier(place)  # type: ignore[return-value]
        if options.get("stride") is None:
            options = {**options, "stride": 2 if place.stage == 0 and place.stages > 1 else 1}
        return super().at(place, **options)

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        if self.spatial is None:
            return self.gates(x)[0]
        if self.channel is None:
            return self.gates(x)[1]
        first, second = self.gates(x)
        return torch.cat([first.expand_as(x), second], 1)

    def f(self, g: Tensor, x: Tensor) -> Tensor:
        channels = x.shape[1] if self.channel is not None else 0
        return self.fuse(x, g[:, :channels], g[:, channels:])

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return self.fuse(x, *self.gates(x))

    def gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The channel gate (b, c, 1, 1) and the spatial gate (b, 1, h, w); empty where the mode has none."""
        positive = x.relu()
        none = x.new_empty(0)
        first = none if self.channel is None else self.channel(positive)
        return first, none if self.spatial is None else self.spatial(positive)

    def fuse(self, x: Tensor, channel: Tensor, spatial: Tensor) -> Tensor:
        if self.mode == "channel":
            return x * channel
        if self.mode == "spatial":
            return (x * spatial).relu()
        first, second = x * channel, (x * spatial).relu()
        if self.concat is not None:
            return self.concat(first, second)
        return first + second if self.mode == "average" else torch.maximum(first, second)


class RowGate(nn.Module):
    """From a covariance (b, d, d), row by row, to `outputs` gates, in float32 at least."""

    def __init__(self, dim: int, outputs: int, slope: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(dim)
        self.rows = nn.Conv2d(dim, 4 * dim, (dim, 1), groups=dim)
        self.excite = nn.Linear(4 * dim, outputs)
        self.slope = slope
        nn.init.kaiming_normal_(self.rows.weight, mode="fan_out")
        nn.init.kaiming_normal_(self.excite.weight, mode="fan_out")

    def forward(self, covariance: Float[Tensor, "b d d"]) -> Float[Tensor, "b outputs"]:
        b, dim, _ = covariance.shape
        weight = self.rows.weight.reshape(dim, 4, dim)  # the grouped convolution as one batched product
        rows = weight @ self.norm(matched(covariance, self.norm)).permute(1, 2, 0)
        rows = rows.permute(2, 0, 1).reshape(b, 4 * dim) + self.rows.bias
        return self.excite(F.leaky_relu(rows, self.slope)).sigmoid()


class ChannelGate(nn.Module):
    """A gate (b, c, 1, 1) from the covariances between `dim` projected channels."""

    def __init__(self, channels: int, dim: int, stride: int, slope: float) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, dim, 1, stride)
        self.norm = PooledBatchNorm(dim)
        self.gate = RowGate(dim, channels, slope)
        nn.init.kaiming_normal_(self.project.weight, mode="fan_out")

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 1 1"]:
        v = self.norm(self.project(x)).relu_()
        with torch.autocast(x.device.type, enabled=False):
            return self.gate(covariance(v))[:, :, None, None].to(x.dtype)


class SpatialGate(nn.Module):
    """A gate (b, 1, h, w) from the covariances between the positions of an 8x8 average."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, dim, 1)
        self.norm = PooledBatchNorm(dim)
        self.gate = RowGate(GRID**2, GRID**2, slope=0.0)
        nn.init.kaiming_normal_(self.project.weight, mode="fan_out")

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
        v = F.adaptive_avg_pool2d(self.norm(self.project(x)), GRID).flatten(2)
        with torch.autocast(x.device.type, enabled=False):
            v = v.to(torch.promote_types(v.dtype, torch.float32))
            s = v.sum(1, keepdim=True)
            product = v.transpose(1, 2) @ v - s.transpose(1, 2) @ s / GRID**2
            gate = self.gate(product / GRID**2).to(x.dtype)
        return F.adaptive_avg_pool2d(gate.view(-1, 1, GRID, GRID), (x.shape[2], x.shape[3]))


class Concat(nn.Module):
    """Fuse two maps by a grouped (k, 1) convolution of each; the narrower the map, the longer k."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        groups = max(channels // 64, 1)
        reach = max((32 // groups).bit_length() + 1, 2)
        self.first, self.second = (
            nn.Conv2d(channels, channels, (2 * reach + 1, 1), padding=(reach, 0), groups=groups)
            for _ in range(2)
        )
        self.norm = PooledBatchNorm(channels)
        for conv in (self.first, self.second):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out")

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.norm(self.first(first) + self.second(second))


class SecondOrderHead(nn.Module):
    """GSoP-Net2's pooling: the root of the covariance of 256 projected channels, row by row to its diagonal.

    The root is by `iterations` Newton-Schulz steps from the covariance over its trace.
    """

    def __init__(self, channels: int, dim: int = 256, iterations: int = 3) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, dim, 1, bias=False)
        self.norm = PooledBatchNorm(dim)
        self.iterations = iterations
        nn.init.kaiming_normal_(self.project.weight, mode="fan_out")

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b t"]:
        v = self.norm(self.project(x)).relu_()
        with torch.autocast(x.device.type, enabled=False):
            root = square_root(covariance(v), self.iterations)
        rows, columns = torch.tril_indices(*root.shape[1:], device=x.device)
        return root[:, rows, columns]


class SecondOrderClassifier(Mechanism):
    """Logits from the root of the last stage's covariance, instead of from its mean, which arrives."""

    reads = "vector"
    returns = "logits"

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        dim = min(256, channels)
        self.pool = SecondOrderHead(channels, dim)
        self.classify = nn.Linear(dim * (dim + 1) // 2, classes)
        self.taps = nn.ModuleList([Tap()])

    def g(self, x: Float[Tensor, "b c"]) -> Float[Tensor, "b t"]:
        last = self.taps[0].map("gsop", x)  # type: ignore[operator]
        if last.shape[2:] == (1, 1):
            raise UserError("gsop: a last map of one position has no covariance to classify: larger images")
        return self.pool(last)

    def f(self, g: Float[Tensor, "b t"], x: Float[Tensor, "b c"]) -> Float[Tensor, "b classes"]:
        return self.classify(g.to(x.dtype))


def classifier(place: Place) -> SecondOrderClassifier:
    """For a network that tells of its stages; raises `Impossible` for another."""
    (channels,) = widths(place, 1)
    module = SecondOrderClassifier(channels, place.replaces.out_features)  # type: ignore[union-attr, arg-type]
    watch(place, module.taps)
    return module


def covariance(v: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d d"]:
    """Of the channels over the positions, centred, biased, in float32 at least."""
    v = v.flatten(2).to(torch.promote_types(v.dtype, torch.float32))
    v = v - v.mean(2, keepdim=True)
    return v @ v.transpose(1, 2) / v.shape[2]


def square_root(matrix: Float[Tensor, "b d d"], iterations: int) -> Float[Tensor, "b d d"]:
    """The root of symmetric positive matrices by Newton-Schulz iteration, which uses products only."""
    trace = matrix.diagonal(0, 1, 2).sum(1)[:, None, None].clamp_min(GUARD)
    three = 3 * torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
    y, z = matrix / trace, torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
    for _ in range(iterations):
        step = (three - z @ y) / 2
        y, z = y @ step, step @ z
    return y * trace.sqrt()
