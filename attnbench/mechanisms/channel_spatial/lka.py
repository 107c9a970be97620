"""Large kernel attention: weigh each entry by a 21x21 depth-wise convolution, taken apart in three."""

from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism


class LKA(Mechanism):
    """g = W (depth-wise 7x7, dilation 3 (depth-wise 5x5 (x))), a product with x and no gate.

    Nothing bounds g, and the output grows with the square of x: half precision overflows where x does
    not. The authors' network, VAN, has it between two 1x1 convolutions with a GELU.
    Source: Visual-Attention-Network/VAN-Classification.
    """

    card = Card(
        title="Visual Attention Network",
        venue="CVMJ 2023",
        url="https://arxiv.org/abs/2202.09741",
        tasks=("Cls", "Det", "SSeg"),
        g="depth-wise convolution -> dilated depth-wise convolution -> 1x1 convolution",
        range=None,
        soft=True,
        goals=("capture long-range dependence", "adapt to channel and position"),
        params=lambda c: c * c + 77 * c,
        site="residual",
    )

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.local = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.dilated = nn.Conv2d(channels, channels, 7, padding=9, groups=channels, dilation=3)
        self.mix = nn.Conv2d(channels, channels, 1)

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return self.mix(self.dilated(self.local(x)))
