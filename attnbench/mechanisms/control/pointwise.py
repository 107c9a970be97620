"""A residual 1x1 convolution with batch norm: capacity at each position, without attention."""

from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism


class Pointwise(Mechanism):
    """f(x) = x + BN(W x), W a 1x1 convolution of all channels."""

    card = Card(
        title="control: a residual 1x1 convolution",
        venue="",
        url="",
        tasks=(),
        g="1x1 convolution -> batch norm",
        range=None,
        soft=True,
        goals=("separate attending from more convolution",),
        params=lambda c: c * c + 2 * c,
        site="residual",
    )

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return self.norm(self.conv(x))

    def f(self, g: Float[Tensor, "b c h w"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return x + g
