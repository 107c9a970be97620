"""The running mean of a network's weights, which is evaluated in the place of the last ones."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim.swa_utils import AveragedModel

from attnbench.config.recipe import Recipe

POWER = 2 / 3  # of the warm-up
FORGOTTEN = 0.01  # share of the first weights in the average that does not matter
Tensors = tuple[Tensor, ...] | list[Tensor]


class Average(AveragedModel):
    """An exponential moving average of the weights and of the norms' statistics, as timm's ModelEmaV3 has it.

    Other buffers, such as a temperature that follows a plan, are copied.
    """

    def __init__(self, network: nn.Module, decay: float, warmup: bool) -> None:
        super().__init__(network, multi_avg_fn=_lerp(decay, warmup), use_buffers=True)
        self._copied = _copied(network)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take in the network's weights after a step."""
        super().update_parameters(model)
        for name in self._copied:
            self.module.get_buffer(name).copy_(model.get_buffer(name))


def average(network: nn.Module, recipe: Recipe) -> Average | None:
    """The running mean that the recipe asks for; None where it asks for none."""
    return Average(network, recipe.ema, recipe.ema_warmup) if recipe.ema else None


def decay_at(updates: int, decay: float, warmup: bool) -> float:
    """The share of the average that stays, after so many updates (0: the first one, which copies)."""
    if updates == 0:
        return 0.0
    return min(decay, 1 - (1 + updates) ** -POWER) if warmup else decay


def too_slow(recipe: Recipe, steps: int) -> str | None:
    """What to tell a user whose run is too short for its average, or None; `steps` of the whole run.

    A decay of d has forgotten its first weights after s steps but for d^s of them.
    """
    left = recipe.ema**steps
    if not recipe.ema or left <= FORGOTTEN:
        return None
    if not recipe.ema_warmup:
        return (
            f"recipe.ema={recipe.ema}: after {steps} steps {100 * left:.0f} % of the average are still its "
            "first weights; lower it, or set recipe.ema_warmup=true"
        )
    last = decay_at(steps - 1, recipe.ema, warmup=True)
    return f"recipe.ema={recipe.ema} needs more than {steps} steps: its warm-up ends at a decay of {last:.3f}"


def _lerp(decay: float, warmup: bool) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    @torch.no_grad()
    def update(averages: Tensors, current: Tensors, updates: Tensor | int) -> None:
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, current, 1 - decay_at(int(updates), decay, warmup))

    return update


def _copied(network: nn.Module) -> list[str]:
    """Names of the buffers that are not averages that a normalization layer keeps."""
    norms = [m for m in network.modules() if isinstance(m, _NormBase)]
    averaged = {id(b) for m in norms for b in m.buffers(recurse=False) if b.is_floating_point()}
    return [name for name, buffer in network.named_buffers() if id(buffer) not in averaged]
