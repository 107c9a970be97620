"""DANet's dual attention: positions gather from like positions, and channels from like channels."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism, Place
from attnbench.mechanisms.layers.attention import attend
from attnbench.mechanisms.layers.losses import label_loss
from attnbench.mechanisms.layers.segmentation_head import SegmentationHead, classifier, inside, layer

BRANCHES = ("both", "pam", "cam")


class DANet(Mechanism):
    """y = x + γ P + δ C, with attention over positions, P, and over channels, C; γ = δ = 0 at the start.

    P = softmax(q k) v without any scale. C = softmax(max E - E) X with E = X X' : the sign is turned, so
    that a channel gathers from those unlike it; softmax(-E) is the same and overflows no less. `branches`
    keeps one of the two. DANet's head (`head`) runs each between 3x3 convolutions of its own and adds the
    results; elsewhere both read x. Source: junfu1115/DANet.
    """

    card = Card(
        title="Dual Attention Network for Scene Segmentation",
        venue="CVPR 2019",
        url="https://arxiv.org/abs/1809.02983",
        tasks=("SSeg",),
        g="dot product of positions -> softmax, and dot product of channels -> softmax",
        range=None,
        soft=True,
        goals=("capture long-range dependence", "let channels interact"),
        params=lambda c: c * c + c + 2 * (c + 1) * max(c // 8, 1) + 2,
        site=("head", "stage"),
        identity=True,
    )
    last_pass = ("logits",)

    def __init__(
        self, channels: int, reduction: int = 8, branches: Literal["both", "pam", "cam"] = "both"
    ) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.position = Position(channels, hidden) if branches != "cam" else None
        self.channel = Channel() if branches != "pam" else None
        self.logits: Tensor | None = None  # of a head's branch, from its last training pass

    @classmethod
    def head(cls, place: Place, **options: Any) -> nn.Module:
        """DANet's: a branch for each kind of attention, each with logits and a loss of its own."""
        asked = options.get("branches", "both")
        kinds = ("pam", "cam") if asked == "both" else (asked,)
        return Head(place, [cls.at(inside(place), **{**options, "branches": kind}) for kind in kinds])

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return sum(branch(x) for branch in (self.position, self.channel) if branch is not None)

    def f(self, g: Tensor, x: Tensor) -> Tensor:
        """x + g."""
        return x + g

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        y = x if self.position is None else x + self.position.fast(x)
        return y if self.channel is None else y + self.channel(x)

    def loss(self, targets: Tensor) -> Tensor | None:
        """In DANet's head, cross-entropy of this branch's own logits, as much as that of their sum's."""
        return None if self.logits is None else label_loss(self.logits, targets)


class Head(SegmentationHead):
    """Branches side by side, their maps added, dropout, 1x1; in training each branch makes logits, too."""

    def __init__(self, place: Place, attention: list[DANet]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(Branch(place, each) for each in attention)
        self.classify = classifier(place.width, place.classes)

    def forward(
        self, x: Float[Tensor, "b c h w"], levels: Sequence[Tensor] = (), coarse: Tensor | None = None
    ) -> Float[Tensor, "b classes h w"]:
        return self.classify(sum(branch(x) for branch in self.branches))


class Branch(nn.Module):
    """3x3 convolution, attention, 3x3 convolution; and a classifier for its own loss."""

    def __init__(self, place: Place, attention: DANet) -> None:
        super().__init__()
        self.enter = layer(place.channels, place.width)
        self.attention = attention
        self.leave = layer(place.width, place.width)
        self.classify = classifier(place.width, place.classes)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        y = self.leave(self.attention(self.enter(x)))
        self.attention.logits = self.classify(y) if self.training else None
        return y


class Position(nn.Module):
    """γ softmax(q k) v over all positions."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))
        self.query = nn.Conv2d(channels, hidden, 1)
        self.key = nn.Conv2d(channels, hidden, 1)
        self.value = nn.Conv2d(channels, channels, 1)

    def projected(self, x: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b n d"]]:
        """Queries, keys and values; in float32 where x is float16, which the products would overflow."""
        layers = self.query, self.key, self.value
        maps = (layer(x).flatten(2).transpose(1, 2).contiguous() for layer in layers)
        return [m.float() if m.dtype == torch.float16 else m for m in maps]

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        q, k, v = self.projected(x)
        with torch.autocast(x.device.type, enabled=False):
            return self.scaled((q @ k.transpose(1, 2)).softmax(2) @ v, x)

    def fast(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The same without the matrix of all pairs."""
        layers = self.query, self.key, self.value
        maps = (layer(x).flatten(2) for layer in layers)
        q, k, v = (m.float() if m.dtype == torch.float16 else m for m in maps)
        with torch.autocast(x.device.type, enabled=False):
            y = attend(q, k, v, scale=1.0)
        return self.scaled(y.transpose(1, 2), x)

    def scaled(self, y: Float[Tensor, "b n c"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return (self.gamma.to(x.dtype) * y.to(x.dtype)).transpose(1, 2).reshape(x.shape)


class Channel(nn.Module):
    """δ softmax(-X X') X over all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        wide = x.flatten(2).to(torch.promote_types(x.dtype, torch.float32))
        with torch.autocast(x.device.type, enabled=False):
            shares = (-wide @ wide.transpose(1, 2)).softmax(2)
            return (self.gamma * (shares @ wide)).reshape(x.shape).to(x.dtype)
