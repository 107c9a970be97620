"""Retrieval: for a query clip, the gallery's clips of the same identity, taken by other cameras.

Trained as a classifier of the training identities. Test identities are others: their clips' vectors are
compared by Euclidean distance, as on MARS (Zheng et al., ECCV 2016).
"""

from typing import NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from attnbench.errors import UserError
from attnbench.tasks import clip
from attnbench.tasks._card import Card, Metric


class Task(clip.Task):
    """Cross-entropy over the training identities; query against gallery at evaluation."""

    card = Card(
        metrics=(
            Metric("rank1", "rank-1", difference=0.5),
            Metric("rank5", "rank-5"),
            Metric("map", "mAP"),
            Metric("loss", "loss", "nats", 4, larger=False),
        ),
        reads="clips",
        choices={"head": ("mean", "lstm")},
        stated=("head",),
    )
    retrieves = True

    def predict(self, network: nn.Module, inputs: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        return network.embed(inputs)  # type: ignore[operator]

    def meter(self, device: torch.device) -> "Meter":
        if dist.is_initialized() and dist.get_world_size() > 1:
            raise UserError("task=retrieval compares all clips with each other: run it in one process")
        return Meter(device)


class Meter:
    """Rank-1, rank-5 and mean average precision (%) of the queries that have a match in the gallery.

    Targets (b 3) are identity, camera, and 1 for a query or 0 for the gallery. Clips of identity -1 are
    left out; of a query's own identity, those of its own camera are.
    """

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(0, device=device)
        self.vectors: list[Tensor] = []
        self.targets: list[Tensor] = []

    def update(self, outputs: Float[Tensor, "b d"], targets: Int[Tensor, "b 3"]) -> None:
        """Take in the vectors and targets of one batch."""
        self.vectors.append(outputs.float())
        self.targets.append(targets)

    def compute(self) -> dict[str, float]:
        """The metrics of all that was taken in."""
        found = ranking(torch.cat(self.vectors), torch.cat(self.targets))
        counted = found.first[found.first >= 0]
        if not len(counted):
            raise UserError("no query has a match in the gallery: identities need clips of two cameras")
        share = {f"rank{k}": 100 * float((counted < k).float().mean()) for k in (1, 5)}
        return {**share, "map": 100 * float(found.precision[found.first >= 0].mean())}


class Ranking(NamedTuple):
    """Of each query, place of the first right clip among those that count (from 0; -1: there is none)."""

    first: Int[Tensor, " q"]
    precision: Float[Tensor, " q"]  # average precision


def ranking(vectors: Float[Tensor, "n d"], targets: Int[Tensor, "n 3"]) -> Ranking:
    """Rank the gallery for each query by Euclidean distance."""
    identity, camera, query = targets.unbind(1)
    asked, kept = (query == 1) & (identity >= 0), (query == 0) & (identity >= 0)
    distance = torch.cdist(vectors[asked], vectors[kept], compute_mode="donot_use_mm_for_euclid_dist")
    same = identity[asked][:, None] == identity[kept]
    own = same & (camera[asked][:, None] == camera[kept])
    order = distance.masked_fill(own, torch.inf).argsort(dim=1, stable=True)
    return _scores((same & ~own).gather(1, order))


def _scores(right: Bool[Tensor, "q g"]) -> Ranking:
    """From whether the clip at each place is right; those that do not count are the last places."""
    count = right.sum(1)
    first = torch.where(count > 0, right.int().argmax(1), -1)
    places = torch.arange(1, right.shape[1] + 1, device=right.device)
    precision = right.cumsum(1) / places * right
    return Ranking(first, precision.sum(1) / count.clamp(min=1))
