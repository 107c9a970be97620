"""What a mechanism is tried on: its class with options, maps, and states that hide nothing."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn

from attnbench.mechanisms.base import Mechanism, Place

STEPS = 3  # of a sequence, unless a case says so


class Control(nn.Module):
    """What the controls at `head`, `network` and `decoder` tell of themselves."""

    def __init__(self, classes: int, steps: int | None, width: int) -> None:
        super().__init__()
        self.classes, self.steps, self.width = classes, steps, width


@dataclass(frozen=True)
class Case:
    """A mechanism's class with options, and what it is tried on.

    Maps (batch, channels, *size); clips (batch, frames, channels, *size) where the mechanism takes them; or
    skeletons (batch, frames, channels // 3, 3). `classes` are those of the control that it replaces; `steps`
    are its steps where it names sequences, as every control at site `decoder` does.
    """

    cls: type[Mechanism]
    options: Mapping[str, Any] = field(default_factory=dict)
    channels: int = 64
    size: tuple[int, int] = (7, 5)
    batch: int = 2
    frames: int = 8
    classes: int = 10
    steps: int | None = None

    @property
    def sites(self) -> tuple[str, ...]:
        """Where the mechanism's paper puts it."""
        site = self.cls.card.site
        return (site,) if isinstance(site, str) else site

    @property
    def sequence(self) -> int | None:
        """Steps of the sequences that it names; None where it gives one label."""
        return self.steps or (STEPS if "decoder" in self.sites else None)

    @property
    def logits(self) -> bool:
        """Whether it ends in scores, not in a map."""
        return self.cls.returns == "logits"

    def with_(self, **changes: Any) -> Self:
        return replace(self, **changes)

    def fresh(self, seed: int = 0) -> Mechanism:
        """The module as initialised, in training mode; at site `conv` it stands for a 3x3 convolution."""
        with seeded(seed):
            return self.cls.at(self._place(), **self.options)

    def _place(self) -> Place:
        replaces: nn.Module | None = None
        if "conv" in self.sites:
            replaces = nn.Conv2d(self.channels, self.channels, 3, padding=1, bias=False)
        if self.logits:
            replaces = Control(self.classes, self.sequence, self.channels)
        if self.cls.reads == "skeleton":
            size = (self.channels // 3, 3)
            return Place("probe", self.channels, size, replaces=replaces, frames=self.frames)
        frames = self.frames if self.cls.reads == "clip" or ("head" in self.sites and self.logits) else None
        return Place("probe", self.channels, self.size, replaces=replaces, frames=frames)

    def trained(self, seed: int = 0) -> Mechanism:
        """The module in float64, its parameters and running statistics drawn: no zero hides a path."""
        return randomise(self.fresh(seed), seed).double()

    def x(self, seed: int = 1) -> Tensor:
        """What it takes, of standard normal numbers in float64, which asks for its gradient."""
        shape: tuple[int, ...] = (self.batch, self.channels, *self.size)
        if self.reads == "skeleton":
            shape = (self.batch, self.frames, self.channels // 3, 3)
        elif self.reads == "clip":
            shape = (self.batch, self.frames, self.channels, *self.size)
        return draw(shape, seed).requires_grad_()

    @cached_property
    def reads(self) -> str:
        """What it takes, with these options: a map, clip, vector or skeleton."""
        return self.fresh().reads if self.cls.reads == "map" else self.cls.reads

    @property
    def result(self) -> tuple[int, ...] | None:
        """Shape of the scores that it ends in; None: that of its input."""
        if not self.logits:
            return None
        steps = () if self.sequence is None else (self.sequence,)
        return (self.batch, *steps, self.classes)

    def targets(self) -> Tensor:
        """What the task would hand to `loss`: a class of each input, or a sequence and its end."""
        labels = torch.arange(self.batch) % 2
        if not self.logits or self.sequence is None:
            return labels
        sequences = torch.full((self.batch, self.sequence), -100)
        sequences[:, 1:2] = self.classes - 1
        sequences[:, 0] = labels
        return sequences

    def __str__(self) -> str:
        options = ",".join(f"{k}={v}" for k, v in self.options.items())
        return f"{self.cls.__module__.rpartition('.')[2]}({options})"


def draw(shape: tuple[int, ...], seed: int) -> Tensor:
    """Standard normal numbers in float64 that depend on the seed alone."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


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
