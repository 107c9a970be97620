"""Policy gradients for attention that is sampled: what was done, what it earned, the term that follows."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from attnbench.mechanisms.layers.precision import full_precision

IGNORED = -100  # the target of steps after a sequence's end


@full_precision
def log_density(action: Float[Tensor, "b d"], mean: Float[Tensor, "b d"], std: float) -> Float[Tensor, "b"]:
    """Of independent normal distributions with one standard deviation; the action carries no gradient."""
    z = (action.detach() - mean) / std
    return -(z.square() / 2 + math.log(std) + math.log(2 * math.pi) / 2).sum(1)


@full_precision
def reinforce(
    log_probability: Float[Tensor, "b t"], earned: Float[Tensor, "b t"], expected: Float[Tensor, "b t"]
) -> Float[Tensor, ""]:
    """A term whose gradient is, on average, that of minus the mean reward of an episode.

    `earned` follows each action; `expected` is a baseline that does not depend on it.
    """
    return -(log_probability * (earned - expected).detach()).sum(1).mean()


def hits(logits: Float[Tensor, "b *s k"], targets: Tensor) -> Float[Tensor, "b *s"]:
    """1 where the best score is the target's; of soft labels (b, k), the share of the best class."""
    best = logits.argmax(-1)
    if targets.is_floating_point():
        return targets.gather(1, best[:, None])[:, 0]
    return (best == targets).float()


def earned(right: Float[Tensor, "b s"], counts: Float[Tensor, "b s"], total: bool) -> Float[Tensor, "b s"]:
    """Labels right in a row from the first on: of the whole sequence, or of each step and those to come.

    `counts` is 0 for steps after the end, which earn nothing.
    """
    in_a_row = (right * counts + 1 - counts).cumprod(1) * counts
    to_come = in_a_row.flip(1).cumsum(1).flip(1)
    return to_come[:, :1].expand_as(right) if total else to_come


def mean_log_softmax(logits: Float[Tensor, "b m k"]) -> Float[Tensor, "b k"]:
    """The logarithm of the mean of m predictions of one input."""
    if logits.shape[1] == 1:
        return logits[:, 0]
    spread = F.log_softmax(logits, 2).logsumexp(1) - math.log(logits.shape[1])
    return spread.to(logits.dtype)


def fixed_draws(*shape: int, uniform: bool = False) -> Tensor:
    """Random numbers that are always the same: uniform from 0 to 1, or standard normal."""
    drawn = torch.Generator().manual_seed(0)
    return torch.rand(shape, generator=drawn) if uniform else torch.randn(shape, generator=drawn)
