"""The two nouns of the zoo: a Mechanism, `forward(x) = f(g(x), x)`, and the Card that its paper fills in."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn


@dataclass(frozen=True)
class Card:
    """What a paper says of its mechanism, in the columns of Guo et al. 2022; tests hold the module to it."""

    title: str
    venue: str
    url: str
    tasks: tuple[str, ...]  # Cls, Det, ISeg, SSeg, Action, ... as the survey abbreviates them
    g: str  # how the attention map is made, in the survey's words
    range: tuple[float, float] | None  # of the map's entries; None where the map is not a gate
    soft: bool  # the survey's S; False is H
    goals: tuple[str, ...]
    params: Callable[[int], int]  # learnable parameters at c channels and default options
    site: str  # where the paper puts it, by the name of a site in conf/backbone
    identity: bool = False  # whether a fresh module returns its input exactly


@dataclass(frozen=True)
class Place:
    """One spot of a network where a mechanism is to stand, as seen in a dry run on one image."""

    name: str  # dotted name of the module it stands after, before or instead of
    channels: int  # of the map that arrives
    size: tuple[int, int]  # height and width of that map, in positions
    stage: int = 0  # index among the stages (maps of equal size) that the site covers, from 0
    stages: int = 1
    replaces: nn.Module | None = None  # the module it stands instead of
    model: nn.Module | None = None  # the network, for what must see more than the map that arrives


class Mechanism(nn.Module):
    """An attention mechanism for maps of shape (b, c, h, w): `g` makes the map, `f` applies it.

    A subclass carries a `card`, takes `channels` first and its options after it, each with a literal
    default: the command line reads them from the source, without importing torch. A `forward` of its
    own may be faster than `f(g(x), x)`; `attnbench.checks` demands that both agree.
    """

    card: ClassVar[Card]
    untrained: ClassVar[frozenset[str]] = frozenset()  # parameters that the authors' training never reaches

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        """Build the module for a place; raises `Impossible`, with the reason, where it cannot stand."""
        return cls(place.channels, **options)

    @classmethod
    def share(cls, place: Place, **options: Any) -> Hashable | None:
        """Places with equal keys share one module, built at the first of them; None: each has its own."""
        return None

    def g(self, x: Tensor) -> Tensor:
        """The attention map of x, of a shape that `f` can combine with x."""
        raise NotImplementedError(f"{type(self).__name__} defines no g")

    def f(self, g: Tensor, x: Tensor) -> Tensor:
        """Apply the map g to x: by default the product."""
        return g * x

    def forward(self, x: Tensor) -> Tensor:
        return self.f(self.g(x), x)

    def loss(self, targets: Tensor) -> Tensor | None:
        """The term that the last training forward pass adds to the task's loss, if any.

        `targets` as the task has them: classes (b,), soft labels (b, classes), or label maps (b, h, w).
        """
        return None

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Called before each epoch of training, the first being 0, for what follows a schedule."""

    def start_pass(self) -> None:
        """Called in each forward pass before the first of its places (those after or before a module)."""

    def no_weight_decay(self) -> set[str]:
        """Names of own parameters that the paper excludes from weight decay."""
        return set()
