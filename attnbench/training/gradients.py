"""Parameters that training never moves: those whose gradient has always been zero."""

import torch
from torch import nn

from attnbench.grafting.attached import outer

FIRST = 3  # steps after each of which all parameters left are looked at


class Gradients:
    """Notes which parameters of a network have had a gradient other than zero."""

    def __init__(self, network: nn.Module) -> None:
        self._left = {outer(name): p for name, p in network.named_parameters() if p.requires_grad}

    @property
    def dead(self) -> list[str]:
        """Names of those that have not."""
        return list(self._left)

    def restore(self, dead: list[str]) -> None:
        """Go on from the names that were left in a checkpoint."""
        self._left = {name: self._left[name] for name in dead if name in self._left}

    @torch.no_grad()
    def look(self) -> None:
        """Take in the gradients of a step."""
        held = {name: p.grad for name, p in self._left.items() if p.grad is not None}
        if not held:
            return
        moved = torch.stack([grad.any() for grad in held.values()]).tolist()  # waits for the device once
        for name, moves in zip(held, moved):
            if moves:
                del self._left[name]
