"""A convolution with a larger kernel in the place of one: more of the image is seen, without attention."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card
from attnbench.mechanisms.layers.conv import Replacement, like, padding


class LargeKernels(Replacement):
    """y = W * x, the kernel having `more` taps on each side beyond those of the convolution it stands for."""

    card = Card(
        title="control: convolutions with larger kernels",
        venue="",
        url="",
        tasks=(),
        g="1",
        range=(1.0, 1.0),
        soft=True,
        goals=("separate attending from a larger receptive field",),
        params=lambda c: 25 * c * c,
        site=("later_conv", "conv"),
    )

    def __init__(self, channels: int, conv: nn.Conv2d, more: int = 1) -> None:
        super().__init__()
        (kh, kw), (dh, dw), (ph, pw) = conv.kernel_size, conv.dilation, padding(conv)
        geometry: dict[str, Any] = {
            "stride": conv.stride,
            "padding": (ph + dh * more, pw + dw * more),
            "dilation": conv.dilation,
            "groups": conv.groups,
        }
        kernel = (kh + 2 * more, kw + 2 * more)
        wider = nn.Conv2d(conv.in_channels, conv.out_channels, kernel, **geometry, device="meta")
        self.conv = like(wider, bias=conv.bias is not None)

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 1 1"]:
        """A map of ones: nothing depends on x."""
        return x.new_ones(x.shape[0], 1, 1, 1)

    def f(self, g: Float[Tensor, "b 1 1 1"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        return self.conv(x)
