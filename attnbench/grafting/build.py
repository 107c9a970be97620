"""Building the mechanisms of a site: by name, by class, or of any module that takes its channels."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from attnbench.errors import Impossible, unknown
from attnbench.grafting.sites import Spot
from attnbench.mechanisms import entry, load
from attnbench.mechanisms.base import Card, Control, Mechanism, Place

CONVOLUTION = "conv"  # the site of mechanisms that stand instead of a convolution
STREAM = 0x67726166  # parts the mechanisms' random numbers from those of a backbone of the same seed


class Builder(Protocol):
    """What makes mechanisms for places: a class of them does."""

    def at(self, place: Place, **options: Any) -> Mechanism: ...

    def head(self, place: Place, **options: Any) -> nn.Module | None: ...

    def share(self, place: Place, **options: Any) -> Hashable | None: ...


class Adapter(Mechanism):
    """Any module for maps (b c h w) that keeps their shape, as a mechanism."""

    card = Card(
        title="",
        venue="",
        url="",
        tasks=(),
        g="",
        range=None,
        soft=True,
        goals=(),
        params=lambda c: 0,
        site="",
    )

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)


@dataclass(frozen=True)
class Adapted:
    """Builds adapters around what a class or function makes of the channels and the options."""

    kind: Callable[..., nn.Module]

    def at(self, place: Place, **options: Any) -> Mechanism:
        """The module for the place's channels."""
        return Adapter(self.kind(place.channels, **options))

    def head(self, place: Place, **options: Any) -> None:
        """There is none."""

    def share(self, place: Place, **options: Any) -> None:
        """Each place has its own."""


def builder(mechanism: str | Callable[..., nn.Module], options: Mapping[str, Any]) -> Builder:
    """What builds the mechanism; raises `UserError` for unknown names of mechanisms and their options."""
    if not isinstance(mechanism, str):
        own = isinstance(mechanism, type) and issubclass(mechanism, Mechanism)
        return cast(Builder, mechanism) if own else Adapted(mechanism)
    for option in options:
        if option not in entry(mechanism).options:
            raise unknown(f"option of {mechanism}", option, entry(mechanism).options)
    return load(mechanism)


def build(make: Builder, options: Mapping[str, Any], spots: Sequence[Spot], seed: int) -> list[Mechanism]:
    """One module for each place; places to which the mechanism gives equal keys have theirs in common.

    Raises `Impossible`, with the place's name, where the mechanism cannot stand.
    """
    with random_stream(seed):
        built = _built(make, options, [spot.place for spot in spots])
    for spot, module in zip(spots, built):
        _fit(spot, module)
    return built


def _built(make: Builder, options: Mapping[str, Any], where: list[Place]) -> list[Mechanism]:
    shared: dict[Hashable, Mechanism] = {}
    built = []
    for place in where:
        _check_role(make, place)
        try:
            key = make.share(place, **options)
            module = shared.get(key) if key is not None else None
            module = make.at(place, **options) if module is None else module
        except Impossible as reason:
            raise Impossible(f"{place.name}: {reason}") from None
        if key is not None:
            shared[key] = module
        built.append(module)
    return built


def _check_role(make: Builder, place: Place) -> None:
    """Raise `Impossible` where what weighs a map would stand instead of the convolution that makes it."""
    if not isinstance(place.replaces, nn.Conv2d) or not isinstance(make, type):
        return
    sites = (make.card.site,) if isinstance(make.card.site, str) else make.card.site  # type: ignore[attr-defined]
    if CONVOLUTION not in sites:
        raise Impossible(f"{place.name}: {make.__name__} cannot replace a convolution")


def _fit(spot: Spot, mechanism: Mechanism) -> None:
    """Raise `Impossible` where a mechanism would be handed what it cannot read."""
    name = type(mechanism).__name__
    if spot.how != "instead" and mechanism.returns != "map":
        raise Impossible(f"{spot.name}: {name} outputs logits; it can only replace a classification head")
    if spot.how != "instead" and spot.arrives == "map" and mechanism.reads != "skeleton":
        return  # a clip's frames are handed over as either kind needs them
    if mechanism.reads != spot.arrives:
        raise Impossible(f"{spot.name}: {name} expects {mechanism.reads}s but receives {spot.arrives}s")
    if spot.how == "instead" and mechanism.returns == "map" and isinstance(spot.module, Control):
        raise Impossible(f"{spot.name}: {name} returns a map and cannot replace a head, which outputs logits")


@contextmanager
def random_stream(seed: int) -> Iterator[None]:
    """Draw from a CPU stream of the seed's own; afterwards the global one is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed + STREAM)
        yield
