"""Deformable convolution: predict for each position where a kernel's taps read, and how much each counts."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import UserError
from attnbench.mechanisms.base import Card
from attnbench.mechanisms.layers.conv import Replacement, like, padding
from attnbench.mechanisms.layers.sampling import read


class DCN(Replacement):
    """y(p) = sum_k w_k m_k x(p + p_k + d_k), read bilinearly; offsets d and masks m come from a convolution.

    `version=1` has no masks. That convolution starts from zeros: offsets are 0, masks sigmoid(0) = 1/2 in the
    paper and 2 sigmoid(0) = 1 with the authors' code, `variant="official"`, so that it starts as the
    convolution that it stands for, whose weights it takes over. `groups` of channels have offsets of their
    own. Positions outside the map are zeros that neighbours within one position still feel, as in version 2's
    operator. The convolution of offsets and masks learns at `offset_lr` times the recipe's rate; None is the
    authors' 0.1 in version 2, 1 in version 1. The authors have version 2 in the last three stages, as here,
    and version 1 in the last: `site=last_conv`.
    Sources: msracver/Deformable-ConvNets, open-mmlab/mmcv.
    """

    card = Card(
        title="Deformable ConvNets v2: More Deformable, Better Results",
        venue="CVPR 2019",
        url="https://arxiv.org/abs/1811.11168",
        tasks=("Det", "ISeg"),
        g="3x3 convolution -> offsets, and sigmoid -> mask",
        range=None,
        soft=True,
        goals=("attend to deformed neighbourhoods",),
        params=lambda c: 9 * c * c + 27 * (9 * c + 1),
        site=("deep_conv", "conv"),
    )

    def __init__(
        self,
        channels: int,
        conv: nn.Conv2d,
        version: Literal[1, 2] = 2,
        groups: int = 1,
        variant: Literal["official", "paper"] = "official",
        offset_lr: float | None = None,
    ) -> None:
        super().__init__()
        if version not in (1, 2):
            raise UserError(f"dcn: there is no version {version}; 1 or 2")
        self.offset_lr = {1: 1.0, 2: 0.1}[version] if offset_lr is None else offset_lr
        self.groups = math.gcd(groups, channels)
        self.taps = math.prod(conv.kernel_size)
        self.most = {1: None, 2: 2.0 if variant == "official" else 1.0}[version]
        self.offset = like(conv, outputs=(1 + version) * self.groups * self.taps, groups=1, bias=True)
        for parameter in self.offset.parameters():
            nn.init.zeros_(parameter)
        self.conv = like(conv, bias=conv.bias is not None)
        if not conv.weight.is_meta:
            self.conv.load_state_dict(conv.state_dict())

    def lr_scale(self) -> dict[str, float]:
        return {"offset.weight": self.offset_lr, "offset.bias": self.offset_lr}

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """Offsets, row and column by turns for each tap of each group, then the taps' masks."""
        z = self.offset(x).to(torch.promote_types(x.dtype, torch.float32))
        if self.most is None:
            return z
        offsets, masks = z.split((2 * self.groups * self.taps, self.groups * self.taps), 1)
        return torch.cat((offsets, self.most * masks.sigmoid()), 1)

    def f(self, g: Float[Tensor, "b d i j"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b e i j"]:
        """The convolution of what is read at the offsets."""
        b, _, i, j = g.shape
        parts = g.split(2 * self.groups * self.taps, 1)
        offsets = parts[0].view(b, self.groups, self.taps, 2, i, j).permute(3, 0, 4, 5, 2, 1)
        masks = parts[1].view(b, self.groups, self.taps, i, j).permute(0, 3, 4, 2, 1) if parts[1:] else None
        rows, columns = self.regular(i, j, g)
        return self.convolve(read(x, offsets[0] + rows, offsets[1] + columns, masks))

    def regular(self, i: int, j: int, g: Tensor) -> tuple[Float[Tensor, "i 1 t 1"], Float[Tensor, "j t 1"]]:
        """Rows and columns where the taps of a plain convolution read, for maps of i x j."""
        kw, (sh, sw), (dh, dw) = self.conv.kernel_size[1], self.conv.stride, self.conv.dilation
        ph, pw = padding(self.conv)
        tap = torch.arange(self.taps, device=g.device)
        rows = (torch.arange(i, device=g.device) * sh - ph)[:, None, None] + tap // kw * dh
        columns = (torch.arange(j, device=g.device) * sw - pw)[:, None] + tap % kw * dw
        return rows[..., None].to(g.dtype), columns[..., None].to(g.dtype)

    def convolve(self, read: Float[Tensor, "b i j t c"]) -> Float[Tensor, "b e i j"]:
        """The weights times what each tap has read."""
        weight = self.conv.weight.flatten(2).unflatten(
            0, (self.conv.groups, -1)
        )  # groups e/groups c/groups t
        grouped = read.unflatten(-1, (self.conv.groups, -1))
        y = torch.einsum("bijtgc,gect->bgeij", grouped, weight.to(read.dtype)).flatten(1, 2)
        return y if self.conv.bias is None else y + self.conv.bias[:, None, None].to(y.dtype)
