"""The layer that most attention heads are built of."""

from jaxtyping import Float
from torch import Tensor, nn


class ConvNormReLU(nn.Module):
    """1x1 convolution, BN, ReLU."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=bias)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        return self.finish(self.conv(x))

    def finish(self, y: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        """What follows the convolution."""
        return self.norm(y).relu()
