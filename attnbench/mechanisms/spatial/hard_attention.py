"""Hard attention: before each label one position, drawn by a decoder's state, learnt by REINFORCE."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from attnbench.errors import UserError
from attnbench.mechanisms.base import Card
from attnbench.mechanisms.layers.caption import CaptionDecoder, counts, uneven
from attnbench.mechanisms.layers.precision import full_precision
from attnbench.mechanisms.layers.reinforce import IGNORED, fixed_draws

TINY = 1e-12  # the least chance that has a logarithm


class HardAttention(CaptionDecoder):
    """z_t = a_s with s drawn from α_t, the weights of soft attention (see there for form and places).

    A training batch as a whole is sampled, or, with the chance `expect`, sees the expectation Σ α a and
    learns by its gradient. `loss` adds, where it was sampled, `weight` (cost - b) Σ_t log α_ts, the cost
    being the image's mean cross-entropy over its sequence and b its moving average (9 parts of 10 kept), and
    always `entropy` Σ_t Σ_i α log α; both are sums over the batch, as the authors have them. `penalty` is
    soft attention's. Evaluation takes the likeliest position; `copies` > 1 average the probabilities of so
    many samples, whose draws are fixed and the same for each image. The official code hands known gradients
    to α also where it took the expectation; through a softmax they cancel, and whether the cross-entropy's
    then count is our reading.
    Source: kelvinxu/arctic-captions.
    """

    card = Card(
        title="Show, Attend and Tell: Neural Image Caption Generation with Visual Attention",
        venue="ICML 2015",
        url="https://arxiv.org/abs/1502.03044",
        tasks=("ICap",),
        g="similarity of visual features and previous hidden state -> attention weight",
        range=(0.0, 1.0),
        soft=False,
        goals=("focus on discriminative regions",),
        params=lambda c: 12 * c * c + 612 * c + 2211,
        site=("decoder", "head"),
    )
    last_pass = ("weights", "chosen", "scores")
    average: Tensor
    draws: Tensor

    def __init__(
        self,
        channels: int,
        classes: int,
        steps: int | None,
        state: int | None = None,
        word: int = 100,
        width: int | None = None,
        form: Literal["official", "tutorial"] = "official",
        layers: int = 1,
        selector: bool = False,
        expect: float = 0.5,
        weight: float = 0.1,
        entropy: float = 0.002,
        penalty: float = 0.0,
        passes: int = 3,
        dropout: float = 0.0,
        copies: int = 1,
    ) -> None:
        super().__init__(
            channels, classes, steps, state, word, width, form, layers, selector, passes, dropout
        )
        if copies < 1 or not 0 <= expect <= 1:
            raise UserError(f"hard_attention: copies={copies}, expect={expect}; at least 1, and 0 to 1")
        self.expect, self.weight, self.entropy, self.penalty = expect, weight, entropy, penalty
        self.copies = copies
        self.register_buffer("average", torch.zeros(()))
        draws = fixed_draws(steps or passes, copies, uniform=True)
        self.register_buffer("draws", draws, persistent=False)
        self.sampled = True
        self.chosen: list[Tensor] | None = None
        self.scores: Tensor | None = None

    @property
    def paths(self) -> int:
        return self.copies

    def forward(self, x: Tensor, targets: Tensor | None = None) -> Float[Tensor, "b *s k"]:
        self.chosen = []
        self.sampled = not self.training or float(torch.rand(())) >= self.expect
        scores = super().forward(x, targets)
        self.scores = scores.detach() if self.training else None
        return scores

    def see(
        self, step: int, weights: Float[Tensor, "n l"], rows: Float[Tensor, "n l c"]
    ) -> Float[Tensor, "n c"]:
        if not self.sampled:
            return (weights.to(rows.dtype)[:, None] @ rows)[:, 0]
        if self.training:
            position = drawn(weights, torch.rand(weights.shape[0], device=weights.device))
            if self.chosen is not None:
                self.chosen.append(position)
        elif self.copies == 1:
            position = weights.argmax(1)
        else:
            position = drawn(weights, self.draws[step].repeat(weights.shape[0] // self.copies))
        return rows[torch.arange(rows.shape[0], device=rows.device), position]

    def loss(self, targets: Tensor) -> Tensor | None:
        if self.weights is None or self.scores is None:
            return None
        total = self.entropy * negentropy(self.weights, counts(self.weights, targets))
        if self.penalty:
            total = total + self.penalty * uneven(self.weights, targets)
        if self.sampled and self.chosen:
            cost = costs(self.scores, targets)
            chosen = torch.stack(self.chosen, 1)[..., None]
            likelihood = self.weights.gather(2, chosen)[..., 0].clamp(min=TINY).log()
            likelihood = (likelihood * counts(self.weights, targets)).sum(1)
            total = total + self.weight * ((cost - self.average) * likelihood).sum()
            self.average.mul_(0.9).add_(0.1 * cost.mean())
        return total


def drawn(weights: Float[Tensor, "n l"], uniform: Float[Tensor, "n"]) -> Tensor:
    """The position at which the running sum of the weights passes a number from 0 to 1."""
    sums = weights.detach().cumsum(1)
    passed = sums < (uniform.to(sums) * sums[:, -1])[:, None]
    return passed.sum(1).clamp(max=weights.shape[1] - 1)


@full_precision
def costs(scores: Float[Tensor, "b *s k"], targets: Tensor) -> Float[Tensor, "b"]:
    """Each image's cross-entropy, the mean over its sequence."""
    if scores.dim() == 2:
        return F.cross_entropy(scores, targets, reduction="none")
    each = F.cross_entropy(scores.transpose(1, 2), targets, reduction="none", ignore_index=IGNORED)
    return each.sum(1) / (targets != IGNORED).sum(1).clamp(min=1)


@full_precision
def negentropy(weights: Float[Tensor, "b t l"], counts: Float[Tensor, "b t"]) -> Float[Tensor, ""]:
    """The sum over images, steps and positions of α log α."""
    return ((weights * weights.clamp(min=TINY).log()).sum(2) * counts).sum()
