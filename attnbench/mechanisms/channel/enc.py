"""EncNet's context encoding: weigh each channel by how positions gather around learned codewords."""

from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import UserError
from attnbench.mechanisms.base import Card, Mechanism, Place
from attnbench.mechanisms.layers.norm import PooledBatchNorm
from attnbench.mechanisms.layers.precision import matched


class Enc(Mechanism):
    """g = sigmoid(W e), where e is the mean over codewords of relu(BN(encoder)); the output is relu(x + g x).

    Each position is shared out among the codewords by softmax(s ||x - d||^2), s < 0 at the start, and a
    codeword's encoder sums the residuals x - d that fall to it. The distances, which half precision
    could not hold, come from the expanded square; no (positions, codewords, channels) tensor is made.

    `classes` > 0 adds the SE-loss: a linear layer on e tells which classes the image contains, its
    cross-entropy counts `weight`. 0, the default, is the number of classes where it stands in the head of
    a segmentation network; elsewhere EncNet has no SE-loss unless the number is given.
    `variant="official"` takes the mean of the encoders, as the released code does, "paper" their sum. The
    final ReLU stays, also before the addition of a shortcut. Source: zhanghang1989/PyTorch-Encoding.
    """

    card = Card(
        title="Context Encoding for Semantic Segmentation",
        venue="CVPR 2018",
        url="https://arxiv.org/abs/1803.08904",
        tasks=("SSeg",),
        g="encoder -> MLP -> sigmoid",
        range=(0.0, 1.0),
        soft=True,
        goals=("emphasise important channels", "capture global information"),
        params=lambda c: 2 * c * c + 3 * c + 32 * c + 3 * 32,
        site=("head", "stage"),
    )
    last_pass = ("logits",)

    def __init__(
        self,
        channels: int,
        codewords: int = 32,
        classes: int = 0,
        weight: float = 0.2,
        variant: Literal["official", "paper"] = "official",
    ) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = PooledBatchNorm(channels)
        self.encoding = Encoding(channels, codewords)
        self.code_norm = nn.BatchNorm1d(codewords)
        self.excite = nn.Linear(channels, channels)
        self.contains = nn.Linear(channels, classes) if classes else None
        self.weight = weight
        self.combine = torch.mean if variant == "official" else torch.sum
        self.logits: Tensor | None = None

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        return cls(place.channels, **{**options, "classes": options.get("classes") or place.classes})

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 1 1"]:
        encoders = self.encoding(self.norm(self.project(x)).relu_().flatten(2))
        with torch.autocast(x.device.type, enabled=False):
            e = self.combine(self.code_norm(matched(encoders, self.code_norm)).relu(), 1)
        self.logits = self.contains(e) if self.contains is not None and self.training else None
        return self.excite(e).sigmoid()[:, :, None, None].to(x.dtype)

    def f(self, g: Tensor, x: Tensor) -> Tensor:
        return torch.addcmul(x, x, g).relu_()

    def loss(self, targets: Tensor) -> Tensor | None:
        """The SE-loss of the last training pass; classes outside 0 … classes - 1 are absent (ignored)."""
        if self.logits is None:
            return None
        target = presence(targets, self.logits.shape[1]).to(self.logits.dtype)
        return self.weight * F.binary_cross_entropy_with_logits(self.logits, target)


class Encoding(nn.Module):
    """Sum, for each codeword, the residuals of the positions that are shared out to it."""

    def __init__(self, channels: int, codewords: int) -> None:
        super().__init__()
        bound = (codewords * channels) ** -0.5
        self.codewords = nn.Parameter(torch.empty(codewords, channels).uniform_(-bound, bound))
        self.scale = nn.Parameter(torch.empty(codewords).uniform_(-1, 0))

    def forward(self, x: Float[Tensor, "b c n"]) -> Float[Tensor, "b k c"]:
        """The encoders, in float32 at least."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(torch.promote_types(x.dtype, torch.float32))
            words, scale = self.codewords.to(x.dtype), self.scale[:, None].to(x.dtype)
            near = (-2 * scale * words) @ x + scale * words.square().sum(1, keepdim=True)
            share = (near + scale * x.square().sum(1, keepdim=True)).softmax(1)
            return share @ x.transpose(1, 2) - share.sum(2, keepdim=True) * words


def presence(targets: Tensor, classes: int) -> Float[Tensor, "b classes"]:
    """Which classes an image contains, from classes (b,), label maps (b, h, w), soft labels (b, classes)."""
    if targets.is_floating_point():
        if targets.shape[1] != classes:
            raise UserError(f"enc: classes={classes}, but the targets have {targets.shape[1]}")
        return targets
    labels = targets.reshape(targets.shape[0], -1)
    inside = (labels >= 0) & (labels < classes)
    found = torch.zeros(labels.shape[0], classes + 1, device=labels.device)
    return found.scatter_(1, torch.where(inside, labels, classes), 1.0)[:, :classes]
