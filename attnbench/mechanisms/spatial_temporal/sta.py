"""STA: stripes of the frames, weighed over time by the activation that falls on them."""

from typing import Any, Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import Impossible, UserError
from attnbench.mechanisms.base import Card, Place
from attnbench.mechanisms.layers.clip_head import ClipHead, classes_of
from attnbench.mechanisms.layers.precision import full_precision

FORMS = ("paper", "port")
TINY = 1e-12  # below which a sum is that of a dead map


class STA(ClipHead):
    """relu(BN(W [u, v])): u the mean over stripes of the best frame's, v of the frames' weighted means.

    A position's weight in its frame is its energy Σ_c x², as a share of the frame's; a stripe's score is
    the sum of its positions' weights, as a share of the same stripe's in all frames. None of this has
    parameters. The best frame's choice passes no gradient to the scores. Training adds `weight` times the
    Frobenius distance of the maps of two random frames of each clip; the paper's factor is not known, and
    the triplet loss is the task's. `form="port"` is a third party's: the root of the energy over the
    frame's l2 norm, the stripe's mean instead of its sum. No code was released.
    Frames are a set to it: their order is lost on it.
    """

    card = Card(
        title="STA: Spatial-Temporal Attention for Large-Scale Video-based Person Re-Identification",
        venue="AAAI 2019",
        url="https://arxiv.org/abs/1811.04129",
        tasks=("ReID",),
        g="spatial: l2 norm over channels; temporal: sums over stripes -> l1 norm over frames",
        range=(0.0, 1.0),
        soft=True,
        goals=("emphasise important regions and frames",),
        params=lambda c: 2 * c * 1024 + 2048 + 1025 * 10,
        site="head",
    )
    last_pass = ("distance",)

    def __init__(
        self,
        channels: int,
        classes: int,
        stripes: int = 4,
        feature: int = 1024,
        form: Literal["paper", "port"] = "paper",
        weight: float = 0.1,
    ) -> None:
        super().__init__()
        self.stripes, self.form, self.weight = stripes, form, weight
        self.reduce = nn.Linear(2 * channels, feature, bias=False)
        self.norm = nn.BatchNorm1d(feature)
        self.classify = nn.Linear(feature, classes)
        self.distance: Tensor | None = None

    @classmethod
    def at(cls, place: Place, stripes: int = 4, **options: Any) -> Self:
        if place.size[0] % stripes:
            raise Impossible(f"height {place.size[0]} is not divisible by {stripes} stripes (attn.stripes)")
        return cls(place.channels, classes_of(place), stripes, **options)

    def maps(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t h w"]:
        """Each position's weight in its frame."""
        if x.shape[3] % self.stripes:
            raise UserError(f"sta: height {x.shape[3]} is not divisible by {self.stripes} stripes")
        return energy_shares(x) if self.form == "paper" else norm_shares(x)

    def scores(self, maps: Float[Tensor, "b t h w"]) -> Float[Tensor, "b t k"]:
        stripes = maps.unflatten(2, (self.stripes, -1))
        scores = stripes.sum((3, 4)) if self.form == "paper" else stripes.mean((3, 4))
        return scores / scores.sum(1, keepdim=True).clamp(min=TINY)

    def fuse(self, g: Float[Tensor, "b t k"], x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        stripes = x.unflatten(3, (self.stripes, -1)).mean((4, 5)).transpose(2, 3)
        best = g.argmax(1)[:, None, :, None].expand(-1, 1, -1, x.shape[2])
        chosen = stripes.gather(1, best)[:, 0].mean(1)
        mean = (g.to(x.dtype)[..., None] * stripes).sum(1).mean(1)
        return self.norm(self.reduce(torch.cat([chosen, mean], 1))).relu()

    def g(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t k"]:
        """What each stripe of each frame counts for among the same stripes of all frames."""
        return self.scores(self.maps(x))

    def read(self, g: Float[Tensor, "b t k"], x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        return self.fuse(g, x)

    def embed(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        maps = self.maps(x)
        self.distance = distance(maps) if self.training and self.weight and x.shape[1] > 1 else None
        return self.fuse(self.scores(maps), x)

    def loss(self, targets: Tensor) -> Tensor | None:
        return None if self.distance is None else self.weight * self.distance


@full_precision
def energy_shares(x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t h w"]:
    """Σ_c x², as a share of the frame's; nothing where the frame is zero."""
    energy = x.square().sum(2)
    return energy / energy.sum((2, 3), keepdim=True).clamp(min=TINY)


@full_precision
def norm_shares(x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t h w"]:
    """The root of Σ_c x², as a share of the frame's l2 norm."""
    norm = torch.linalg.vector_norm(x, dim=2)
    return norm / torch.linalg.vector_norm(norm, dim=(2, 3), keepdim=True).clamp(min=TINY)


@full_precision
def distance(maps: Float[Tensor, "b t h w"]) -> Float[Tensor, ""]:
    """The mean Frobenius distance of two random frames of each clip."""
    b, t = maps.shape[:2]
    rows = torch.arange(b, device=maps.device)
    first = torch.randint(t, (b,), device=maps.device)
    second = (first + torch.randint(1, t, (b,), device=maps.device)) % t
    return torch.linalg.vector_norm(maps[rows, first] - maps[rows, second], dim=(1, 2)).mean()
