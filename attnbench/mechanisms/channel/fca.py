"""FcaNet: weigh each channel by an MLP of one coefficient of each channel's cosine transform."""

import math
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import Impossible, UserError, unknown
from attnbench.mechanisms.base import Card, Mechanism, Place
from attnbench.mechanisms.layers.sizes import known

# Row and column frequency (u v) on a 7x7 map, best first, as the authors ranked them on ImageNet.
RANKED = {
    "top": "00 01 60 05 02 10 12 40 50 16 30 04 06 03 35 22 46 63 33 53 55 21 61 52 54 32 31 41 23 20 65 13",
    "low": "00 01 10 11 02 20 21 12 22 03 30 40 04 13 31 05 14 23 32 41 50 06 15 24 33 42 51 60 16 25 34 43",
    "bot": "66 14 34 36 26 43 11 24 44 45 56 15 42 62 25 51 64 13 65 20 23 41 31 32 54 52 61 21 55 53 33 63",
}
LEAST = 7  # positions a side of the map on which the frequencies were ranked
COUNTS = (1, 2, 4, 8, 16, 32)


class Fca(Mechanism):
    """g = sigmoid(W2 relu(W1 s)): each of n groups of neighbouring channels has one frequency for its s.

    The map is averaged down to `size` x `size`, and s is its cosine coefficient there (the constant
    one is `size` times the mean). `size="auto"`, which None stands for, is the shorter side of the map at the
    module's place: 56, 28, 14, 7 in a ResNet on ImageNet, as the authors have it. It is 7 on smaller maps and
    where no place is known, as they advise for other networks. Below 7 their integer scaling of the
    frequencies sends all of them to 0 and FcaNet becomes SE: that is refused, and so is a 1x1 map. Where n
    does not divide the channels, the best gcd(n, channels) serve.
    `frequencies` is top, low or bot (ranked on ImageNet; lowest; worst) and n. Source: cfzd/FcaNet.
    """

    card = Card(
        title="FcaNet: Frequency Channel Attention Networks",
        venue="ICCV 2021",
        url="https://arxiv.org/abs/2012.11879",
        tasks=("Cls", "Det", "ISeg"),
        g="discrete cosine transform -> MLP -> sigmoid",
        range=(0.0, 1.0),
        soft=True,
        goals=("emphasise important channels", "capture global information"),
        params=lambda c: 2 * c * max(c // 16, 1),
        site="residual",
    )
    basis: Tensor

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        frequencies: str = "top16",
        size: int | Literal["auto"] | None = None,
    ) -> None:
        super().__init__()
        size = LEAST if size in (None, "auto") else size
        if not isinstance(size, int):
            raise UserError(f"fca: size={size}: auto, or a number of positions from {LEAST} on")
        if size < LEAST:
            raise UserError(
                f"fca: at size={size} every frequency becomes 0 and FcaNet becomes SE; use {LEAST} or more"
            )
        self.size = size
        self.pairs = [(u * (size // LEAST), v * (size // LEAST)) for u, v in ranked(frequencies, channels)]
        self.register_buffer("basis", torch.empty(len(self.pairs), size, size), persistent=False)
        hidden = max(channels // reduction, 1)
        self.reduce = nn.Linear(channels, hidden, bias=False)
        self.expand = nn.Linear(hidden, channels, bias=False)
        self._fill()

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        if place.size == (1, 1):
            raise Impossible("a 1x1 map has no frequency but the constant one")
        if options.get("size") in (None, "auto"):
            options = {**options, "size": max(min(place.size), LEAST)}
        return super().at(place, **options)

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 1 1"]:
        z = self.reduce(self.spectrum(x)).relu()
        return torch.sigmoid(self.expand(z))[:, :, None, None]

    def spectrum(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c"]:
        """One cosine coefficient a channel; the averages over small windows are folded into the basis."""
        (h, w), basis = x.shape[2:], self.basis
        if not known(h, w):
            x, h, w = F.adaptive_avg_pool2d(x, self.size), self.size, self.size
        down, right = h // self.size, w // self.size
        last = x.is_contiguous(memory_format=torch.channels_last)
        if h % self.size or w % self.size:
            x = F.adaptive_avg_pool2d(x, self.size)
        elif down * right > (1 if last else 16):
            x = F.avg_pool2d(x, (down, right))
        else:
            basis = basis.repeat_interleave(down, 1).repeat_interleave(right, 2) / (down * right)
        weight = basis.repeat_interleave(x.shape[1] // len(basis), 0)[None]
        if last:
            weight = weight.contiguous(memory_format=torch.channels_last)
        return (x * weight.to(x.dtype)).sum((2, 3))

    def _apply(self, fn, recurse: bool = True):
        """As `nn.Module`, but a basis of another dtype is drawn up anew, without rounding twice."""
        super()._apply(fn, recurse)
        self._fill()
        return self

    def _fill(self) -> None:
        if self.basis.is_meta:
            return
        waves = [cosine(u, self.size)[:, None] * cosine(v, self.size) for u, v in self.pairs]
        self.basis.copy_(torch.stack(waves))


def ranked(frequencies: str, channels: int) -> list[tuple[int, int]]:
    """Row and column frequencies of `top16` and the like, as many of the best as divide the channels."""
    known = [f"{kind}{count}" for kind in RANKED for count in COUNTS]
    if frequencies not in known:
        raise unknown("frequencies of fca", frequencies, known)
    pairs = RANKED[frequencies[:3]].split()[: math.gcd(int(frequencies[3:]), channels)]
    return [(int(pair[0]), int(pair[1])) for pair in pairs]


def cosine(frequency: int, length: int) -> Float[Tensor, " length"]:
    """The orthonormal cosine of that frequency over `length` positions, in float64."""
    positions = torch.arange(length, dtype=torch.float64) + 0.5
    wave = (math.pi * frequency / length * positions).cos() / math.sqrt(length)
    return wave * (math.sqrt(2) if frequency else 1.0)
