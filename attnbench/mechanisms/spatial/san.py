"""SAN: instead of a convolution, weigh a window's positions by an MLP of their features."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import Impossible, UserError
from attnbench.mechanisms.base import Card
from attnbench.mechanisms.layers import windows
from attnbench.mechanisms.layers.conv import Replacement
from attnbench.mechanisms.layers.precision import full_precision, matched, narrowed
from attnbench.mechanisms.layers.sizes import known

KINDS = ("pairwise", "patchwise")


class SAN(Replacement):
    """y = W relu(BN(sum_D a_{p,D} b_{p+D})), D over a k x k window, b = 1x1(x), c // 4 wide.

    `pairwise`: a = softmax_D(MLP([phi_p - psi_{p+D}, l_p - l_{p+D}])), where l is a 1x1 convolution
    of the position, -1 to 1 along each axis; `patchwise`: all k^2 weights at once from the MLP of
    phi_p and all psi of the window, without a softmax. The MLP is BN, ReLU, 1x1, BN, ReLU, 1x1.
    phi and psi are c // 16 wide; `share` channels have a weight in common: those whose numbers are equal
    modulo c // 4 // share. Beyond the border the map is reflected, so it must be larger than k // 2 both
    ways. The authors' network has BN, ReLU and the 1x1 convolution W behind each layer, so
    they come with it; with a stride, only every second position asks. g is a (b, groups, k^2, h, w).
    Source: hszhao/SAN.
    """

    card = Card(
        title="Exploring Self-attention for Image Recognition",
        venue="CVPR 2020",
        url="https://arxiv.org/abs/2004.13621",
        tasks=("Cls",),
        g="MLP of the differences to the window's positions -> softmax",
        range=(0.0, 1.0),
        soft=True,
        goals=("replace convolution by local self-attention", "weigh positions and channels apart"),
        params=lambda c: (
            lambda r, o: (
                (lambda g: 2 * r * (c + 1) + o * (c + 1) + 10 + r * (r + 6) + g * (r + 1))(max(o // 8, 1))
                + 2 * o
                + c * (o + 1)
            )
        )(max(c // 16, 1), max(c // 4, 1)),
        site="conv",
    )

    def __init__(
        self,
        channels: int,
        conv: nn.Conv2d,
        kind: Literal["pairwise", "patchwise"] = "pairwise",
        kernel: int = 7,
        share: int = 8,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise UserError(f"san: kernel={kernel}, but a window around a position has an odd size")
        if conv.stride[0] != conv.stride[1]:
            raise Impossible(f"it has one stride for both axes, not {conv.stride}")
        related, width = max(channels // 16, 1), max(channels // 4, 1)
        self.groups = max(width // share, 1)
        if width % self.groups:
            raise Impossible(f"{width} channels cannot share {self.groups} weights evenly")
        self.kernel, self.stride = kernel, int(conv.stride[0])
        self.phi = nn.Conv2d(channels, related, 1)
        self.psi = nn.Conv2d(channels, related, 1)
        self.value = nn.Conv2d(channels, width, 1)
        if kind == "pairwise":
            self.weigh = mlp(related + 2, related, self.groups)
            self.position: nn.Conv2d | None = nn.Conv2d(2, 2, 1)
        else:
            self.weigh = mlp(related * (kernel**2 + 1), self.groups, self.groups * kernel**2)
            self.position = None
        self.norm = nn.BatchNorm2d(width)
        self.expand = nn.Conv2d(width, conv.out_channels, 1)

    def padded(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c H W"]:
        """The map with its border reflected."""
        reach = self.kernel // 2
        if min(x.shape[2:]) <= reach:
            raise UserError(
                f"san: a map of {x.shape[2]}x{x.shape[3]} cannot be reflected by {reach} positions: "
                f"take a kernel of {2 * min(x.shape[2:]) - 1} at most"
            )
        return F.pad(x, 4 * (reach,), mode="reflect")

    def asked(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c i j"]:
        """The positions for which there is an output."""
        return x[:, :, :: self.stride, :: self.stride]

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b groups k*k i j"]:
        phi, psi = self.phi(x), self.psi(x)
        if self.position is None:
            return self.patchwise(self.asked(phi), self.padded(psi))
        places = self.position(grid(x)).to(phi.dtype).expand(x.shape[0], -1, -1, -1)
        own, others = torch.cat([phi, places], 1), torch.cat([psi, places], 1)
        others = windows.neighbours(self.padded(others), self.kernel, self.stride)
        differences = self.asked(own)[:, :, None] - others
        return self.weigh(differences.flatten(3)).softmax(2).unflatten(3, differences.shape[3:])

    def patchwise(
        self, phi: Float[Tensor, "b r i j"], psi: Float[Tensor, "b r H W"]
    ) -> Float[Tensor, "b groups k*k i j"]:
        patch = windows.neighbours(psi, self.kernel, self.stride).flatten(1, 2)
        return self.weigh(torch.cat([phi, patch], 1)).unflatten(1, (self.groups, -1))

    def f(
        self, g: Float[Tensor, "b groups k*k i j"], x: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b d i j"]:
        values = self.padded(self.value(x)).unflatten(1, (-1, self.groups)).transpose(1, 2)
        return narrowed(self.collected(g, values), x.dtype)

    @full_precision
    def collected(
        self, g: Float[Tensor, "b groups k*k i j"], values: Float[Tensor, "b groups share H W"]
    ) -> Float[Tensor, "b d i j"]:
        """The weighted sums and what follows them; patchwise weights have no bounds."""
        y = windows.weighted_sum(g, values, self.kernel, self.stride).transpose(1, 2).flatten(1, 2)
        return self.expand(self.norm(matched(y, self.norm)).relu())


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """BN, ReLU, 1x1 convolution without bias, BN, ReLU, 1x1 convolution."""
    return nn.Sequential(
        *(nn.BatchNorm2d(inputs), nn.ReLU(), Mix(inputs, hidden, 1, bias=False)),
        *(nn.BatchNorm2d(hidden), nn.ReLU(), Mix(hidden, outputs, 1)),
    )


class Mix(nn.Conv2d):
    """A 1x1 convolution as a product of matrices: faster where channels are few and positions many."""

    def forward(self, input: Float[Tensor, "b c t n"]) -> Float[Tensor, "b d t n"]:
        y = torch.einsum("oi,bitn->botn", self.weight[..., 0, 0], input)
        return y if self.bias is None else y + self.bias[:, None, None].to(y.dtype)


def grid(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "1 2 h w"]:
    """Horizontal and vertical place of each position, -1 to 1 along its axis."""
    rows, columns = (axis(n, x) for n in x.shape[2:])
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"))[None]


def axis(n: int, x: Tensor) -> Float[Tensor, " n"]:
    """n numbers from -1 to 1."""
    if known(n):
        return torch.linspace(-1, 1, n, device=x.device, dtype=x.dtype)
    return 2 * torch.arange(n, device=x.device, dtype=x.dtype) / (n - 1) - 1
