"""Spatial transformer: predict an affine map, and read the input where it points."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism
from attnbench.mechanisms.layers.sampling import read

VALID = 28  # shorter side of a map from which on both 5x5 convolutions go without padding
MANY = 128  # channels that are worth gathering
FORMS = {"affine": 6, "attention": 3}


class STN(Mechanism):
    """y(p) = x(A p + t), read bilinearly, zeros outside; A and t come from a small network on x.

    Coordinates go from -1 to 1 between the centres of the corner positions (aligned corners), x before y.
    `form="attention"` predicts an isotropic scale and a translation only. The network is that of
    stnbhwd's demo (max pooling, conv 5x5, max pooling, conv 5x5, two linear layers of 20 units and of the
    parameters); on maps smaller than 28 its convolutions are padded, and on other maps than 32x32 its
    last map is averaged down to 2x2. Its last layer starts as the identity, and so does the module.
    The network learns at `lr` times the recipe's rate; many take 0.1. Source: qassemoquab/stnbhwd.
    """

    card = Card(
        title="Spatial Transformer Networks",
        venue="NeurIPS 2015",
        url="https://arxiv.org/abs/1506.02025",
        tasks=("Cls",),
        g="convolutions -> MLP -> parameters of an affine map",
        range=None,
        soft=True,
        goals=("select the important region", "be invariant to translation, scale and rotation"),
        params=lambda c: 500 * c + 11_786,
        site="input",
        identity=True,
    )

    def __init__(
        self,
        channels: int,
        form: Literal["affine", "attention"] = "affine",
        hidden: int = 20,
        lr: float = 1.0,
    ) -> None:
        super().__init__()
        self.form, self.lr = form, lr
        self.first = nn.Conv2d(channels, hidden, 5)
        self.second = nn.Conv2d(hidden, hidden, 5)
        self.reduce = nn.Linear(4 * hidden, hidden)
        self.predict = nn.Linear(hidden, FORMS[form])
        identity = [1.0, 0, 0, 0, 1, 0] if form == "affine" else [1.0, 0, 0]
        nn.init.zeros_(self.predict.weight)
        self.predict.bias.data = torch.tensor(identity)

    def lr_scale(self) -> dict[str, float]:
        return {name: self.lr for name, _ in self.named_parameters()}

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 2 3"]:
        """The map's first row gives x, its second y, from (x, y, 1)."""
        around = 0 if min(x.shape[2:]) >= VALID else 2
        z = x
        for conv in (self.first, self.second):
            z = F.max_pool2d(z, 2, ceil_mode=True)
            z = F.conv2d(z, conv.weight, conv.bias, padding=around).relu()
        z = F.adaptive_avg_pool2d(z, 2).flatten(1).to(self.predict.weight.dtype)
        with torch.autocast(x.device.type, enabled=False):  # half precision would move positions
            return self.matrix(self.predict(self.reduce(z).relu()))

    def matrix(self, z: Float[Tensor, "b p"]) -> Float[Tensor, "b 2 3"]:
        """The affine map of predicted parameters."""
        if self.form == "affine":
            return z.view(-1, 2, 3)
        scale, across, down = z.unbind(1)
        zero = torch.zeros_like(scale)
        return torch.stack((scale, zero, across, zero, scale, down), 1).view(-1, 2, 3)

    def f(self, g: Float[Tensor, "b 2 3"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """x, read where g points."""
        h, w = x.shape[2:]
        rows, columns = (torch.arange(n, device=g.device, dtype=g.dtype) for n in (h, w))
        half_h, half_w = (h - 1) / 2, (w - 1) / 2
        across, down = (columns - half_w) / max(half_w, 1), (rows - half_h) / max(half_h, 1)
        ones = torch.ones(h, w, device=g.device, dtype=g.dtype)
        target = torch.stack((*torch.meshgrid(across, down, indexing="xy"), ones)).flatten(1)
        # The way from each position, not its end: the identity then moves nothing, to the last bit.
        way = (g - torch.eye(2, 3, device=g.device, dtype=g.dtype)) @ target
        to_right, to_bottom = way.unflatten(2, (h, w)).unbind(1)
        return sample(x, rows[:, None] + to_bottom * half_h, columns + to_right * half_w)


def sample(
    x: Float[Tensor, "b c h w"], rows: Float[Tensor, "b i j"], columns: Float[Tensor, "b i j"]
) -> Float[Tensor, "b c i j"]:
    """What x is between its positions, which count from 0; zeros outside.

    x is extended by zeros to sides that are powers of two: rounding then moves no whole position. Where it
    would have to be, and has many channels, gathering them for each position is quicker on a CPU.
    """
    h, w = (1 << (n - 1).bit_length() for n in x.shape[2:])
    if x.device.type in ("cpu", "meta") and x.shape[1] >= MANY and x.shape[2:] != (h, w):
        return read(x, rows[..., None], columns[..., None]).permute(0, 3, 1, 2)
    around = (0, w - x.shape[3], 0, h - x.shape[2])
    wide = F.pad(x.to(rows.dtype), around) if any(around) else x.to(rows.dtype)
    grid = torch.stack(((2 * columns + 1) / w - 1, (2 * rows + 1) / h - 1), -1)
    with torch.autocast(x.device.type, enabled=False):
        return F.grid_sample(wide, grid, align_corners=False).to(x.dtype)
