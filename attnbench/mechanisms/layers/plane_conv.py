"""A convolution from few channels to one, whose backward pass CPU kernels are slow at."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

WIDEST = 64  # a row of so many positions is still cheaper as a product with a banded matrix


class PlaneConv2d(nn.Conv2d):
    """`nn.Conv2d(channels, 1, kernel)` without bias, which keeps the size of maps (b, channels, h, w).

    In training on a CPU the same sums are made as products of the map's rows with banded matrices, one
    for each row of the kernel: 5 to 8 times as fast, forward and backward, for 7x7 kernels.
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__(channels, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
        learns = torch.is_grad_enabled() and not torch.compiler.is_exporting()
        if learns and input.device.type == "cpu" and input.shape[3] <= WIDEST:
            return self.by_rows(input)
        return super().forward(input)

    def by_rows(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
        """Windows of as many rows as the kernel has, times the bands."""
        b, _, h, w = x.shape
        rows = F.pad(x, (0, 0, *(2 * [self.kernel_size[0] // 2]))).unfold(2, h, 1)  # b c k w h
        windows = rows.permute(0, 4, 1, 2, 3).reshape(b * h, -1)
        return (windows @ self.bands(w).flatten(0, 2)).view(b, 1, h, w)

    def bands(self, width: int) -> Float[Tensor, "c k w w"]:
        """The kernel's rows along the diagonals of square matrices: (position read, position written)."""
        taps = self.kernel_size[1]
        at = torch.arange(width, device=self.weight.device)
        tap = at[:, None] - at + taps // 2
        outside = (tap < 0) | (tap >= taps)
        return F.pad(self.weight[0], (0, 1))[:, :, tap.masked_fill(outside, taps)]
