"""Retrieval: for a query clip, the gallery's clips of the same identity, taken by other cameras.

Trained as a classifier of the training identities. Test identities are others: their clips' vectors are
compared by Euclidean distance, by one of two protocols:

- `mars`: that of MARS's authors (Zheng et al., ECCV 2016; liangzheng06/MARS-evaluation): vectors of unit
  length, queries are part of the gallery, every query counts, average precision by trapezoids.
- `torchreid`: queries are not in the gallery, those without a match in it are left out, plain average
  precision.
"""

from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from attnbench.config.schema import Config
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
        choices={"head": ("mean", "lstm"), "protocol": ("mars", "torchreid")},
        stated=("head", "protocol"),
    )
    retrieves = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if dist.is_initialized() and dist.get_world_size() > 1:
            raise UserError("task=retrieval compares all clips with each other: run it in one process")
        self.protocol = config.task.options.get("protocol", "mars")

    def predict(self, network: nn.Module, inputs: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        return network.embed(inputs)  # type: ignore[operator]

    def meter(self, device: torch.device) -> "Meter":
        return Meter(device, self.protocol)


class Meter:
    """Rank-1, rank-5 and mean average precision (%) of the queries; how many there are, and how many count.

    Targets (b 3) are identity, camera, and 1 for a query or 0 for the gallery. Clips of identity -1 are
    left out; of a query's own identity, those of its own camera are.
    """

    def __init__(self, device: torch.device, protocol: str = "mars") -> None:
        self.sums = torch.zeros(0, device=device)
        self.protocol = protocol
        self.vectors: list[Tensor] = []
        self.targets: list[Tensor] = []

    def update(self, outputs: Float[Tensor, "b d"], targets: Int[Tensor, "b 3"]) -> None:
        """Take in the vectors and targets of one batch."""
        self.vectors.append(outputs.float())
        self.targets.append(targets)

    def compute(self) -> dict[str, float]:
        """The metrics of all that was taken in."""
        found = ranking(torch.cat(self.vectors), torch.cat(self.targets), self.protocol)
        matched = found.first >= 0
        if not matched.any():
            raise UserError("no query has a match in the gallery: identities need clips of two cameras")
        counted = torch.ones_like(matched) if self.protocol == "mars" else matched
        hits = {f"rank{k}": (matched & (found.first < k))[counted].float().mean() for k in (1, 5)}
        shares = {**hits, "map": found.precision[counted].mean()}
        left_out = float((~counted).sum())
        return {
            **{name: 100 * float(share) for name, share in shares.items()},
            "queries": float(len(matched)),
            "queries_left_out": left_out,
        }


class Ranking(NamedTuple):
    """Of each query, place of the first right clip among those that count (from 0; -1: there is none)."""

    first: Int[Tensor, " q"]
    precision: Float[Tensor, " q"]  # average precision; 0 without a right clip


def ranking(vectors: Float[Tensor, "n d"], targets: Int[Tensor, "n 3"], protocol: str = "mars") -> Ranking:
    """Rank the gallery for each query by Euclidean distance."""
    official = protocol == "mars"
    identity, camera, query = targets.unbind(1)
    known = identity >= 0
    asked, kept = (query == 1) & known, known if official else (query == 0) & known
    if not asked.any() or not kept.any():
        none = torch.zeros(int(asked.sum()), device=vectors.device)
        return Ranking(none.long() - 1, none)
    vectors = F.normalize(vectors) if official else vectors
    distance = torch.cdist(vectors[asked], vectors[kept], compute_mode="donot_use_mm_for_euclid_dist")
    same = identity[asked][:, None] == identity[kept]
    own = same & (camera[asked][:, None] == camera[kept])
    order = distance.masked_fill(own, torch.inf).argsort(dim=1, stable=True)
    return _scores((same & ~own).gather(1, order), trapezoids=official)


def _scores(right: Bool[Tensor, "q g"], trapezoids: bool) -> Ranking:
    """From whether the clip at each place is right; those that do not count are the last places."""
    count = right.sum(1)
    first = torch.where(count > 0, right.int().argmax(1), -1)
    places = torch.arange(1, right.shape[1] + 1, device=right.device)
    precision = right.cumsum(1) / places
    if trapezoids:  # the mean of the precisions before and after each right clip, before the first place 1
        precision = (precision + F.pad(precision, (1, -1), value=1.0)) / 2
    return Ranking(first, (precision * right).sum(1) / count.clamp(min=1))
