"""What is noted of a network while it trains: that its mechanisms are called, and what never learns."""

import torch
from torch import nn

from attnbench.grafting.attached import outer
from attnbench.grafting.calls import Calls

FIRST = 3  # steps after each of which all parameters that have not moved are looked at
EVERY = 20  # steps between later looks


class Watched:
    """A network's mechanisms in its first step, and the parameters whose gradient has always been zero.

    Made before the network is converted, wrapped or compiled.
    """

    def __init__(self, network: nn.Module, compiled: bool) -> None:
        self.compiled = compiled
        self._calls: Calls | None = Calls(network)
        self._left = {outer(name): p for name, p in network.named_parameters() if p.requires_grad}

    @property
    def dead(self) -> list[str]:
        """Names of the parameters that have had no gradient other than zero."""
        return list(self._left)

    def restore(self, dead: list[str]) -> None:
        """Go on from the names that were left in a checkpoint."""
        self._left = {name: self._left[name] for name in dead if name in self._left}

    def begin(self) -> None:
        """Before a step's forward pass."""
        if self._calls is not None:
            self._calls.open()

    def end(self, step: int) -> None:
        """After the backward pass of a step of an epoch; raises `NotCalled` where the first misses any."""
        if self._calls is not None:
            calls, self._calls = self._calls, None
            if not self.compiled:  # which without its hooks would be compiled again
                calls.close()
            calls.check("in the first training step")
        if self._left and (step < FIRST or step % EVERY == 0):
            self._look()

    @torch.no_grad()
    def _look(self) -> None:
        held = {name: p.grad for name, p in self._left.items() if p.grad is not None}
        if not held:
            return
        moved = torch.stack([grad.any() for grad in held.values()]).tolist()  # waits for the device once
        for name, moves in zip(held, moved):
            if moves:
                del self._left[name]
