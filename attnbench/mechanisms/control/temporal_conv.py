"""A residual convolution over the frames of a clip: local context in time, without attention."""

from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism


class TemporalConv(Mechanism):
    """f(x) = x + BN(W x): at each position a convolution of `kernel` frames, zeros outside the clip."""

    card = Card(
        title="control: a convolution over time",
        venue="",
        url="",
        tasks=(),
        g="1-D convolution over frames -> batch norm",
        range=None,
        soft=True,
        goals=("separate attending from local context in time",),
        params=lambda c: 3 * c * c + 2 * c,
        site="temporal",
    )
    reads = "clip"

    def __init__(self, channels: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, (kernel, 1), padding=(kernel // 2, 0), bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def g(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t c h w"]:
        frames = x.transpose(1, 2).flatten(3)  # b c t (h w)
        return self.norm(self.conv(frames)).unflatten(3, x.shape[3:]).transpose(1, 2)

    def f(self, g: Float[Tensor, "b t c h w"], x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t c h w"]:
        return x + g
