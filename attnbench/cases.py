"""What a mechanism is tried on: its class with options, maps, and states that hide nothing."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from attnbench.mechanisms.base import Mechanism, Place


@dataclass(frozen=True)
class Case:
    """A mechanism's class with options, and the maps (batch, channels, *size) that it is tried on."""

    cls: type[Mechanism]
    options: Mapping[str, Any] = field(default_factory=dict)
    channels: int = 64
    size: tuple[int, int] = (7, 5)
    batch: int = 2

    def with_(self, **changes: Any) -> Self:
        return replace(self, **changes)

    def fresh(self, seed: int = 0) -> Mechanism:
        """The module as initialised, in training mode; at site `conv` it stands for a 3x3 convolution."""
        with seeded(seed):
            takes_over = self.cls.card.site == "conv"
            conv = nn.Conv2d(self.channels, self.channels, 3, padding=1, bias=False) if takes_over else None
            return self.cls.at(Place("probe", self.channels, self.size, replaces=conv), **self.options)

    def trained(self, seed: int = 0) -> Mechanism:
        """The module in float64, its parameters and running statistics drawn: no zero hides a path."""
        return randomise(self.fresh(seed), seed).double()

    def x(self, seed: int = 1) -> Tensor:
        """A map of standard normal numbers in float64, which asks for its gradient."""
        drawn = torch.Generator().manual_seed(seed)
        shape = (self.batch, self.channels, *self.size)
        return torch.randn(shape, generator=drawn, dtype=torch.float64).requires_grad_()

    def __str__(self) -> str:
        options = ",".join(f"{k}={v}" for k, v in self.options.items())
        return f"{self.cls.__module__.rpartition('.')[2]}({options})"


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A block whose draws from torch's global generator depend on the seed alone, and leave no trace."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@torch.no_grad()
def randomise(module: Mechanism, seed: int = 0) -> Mechanism:
    """Draw the parameters and the norms' running statistics; leave other buffers, which are constants."""
    drawn = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        fan_in = max(parameter[0].numel(), 1) if parameter.dim() > 1 else 4
        parameter.copy_(torch.randn(parameter.shape, generator=drawn) * fan_in**-0.5)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=drawn) * 0.3)
        if name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=drawn) + 0.5)
    return module
