"""Grafting: put a mechanism at a site of a network. All surgery on networks happens here.

A mechanism that stands after or before a module becomes that module's child `attention`, called from a
forward hook: no other module changes its name, so state dicts fit as before. One that stands instead of a
module takes its name in its parent.
"""

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from attnbench.config.schema import Layout, Site
from attnbench.errors import Impossible, UserError, unknown
from attnbench.grafting.absorb import absorb, absorbed
from attnbench.grafting.sites import Spot, observe
from attnbench.mechanisms import entry, load
from attnbench.mechanisms.base import Mechanism, Place

CONVOLUTION = "conv"  # the site of mechanisms that stand instead of a convolution
STREAM = 0x67726166  # parts the mechanisms' random numbers from those of a backbone of the same seed


def graft(
    model: nn.Module,
    mechanism: str | type[Mechanism],
    options: Mapping[str, Any],
    site: Site,
    image: tuple[int, ...],
    seed: int = 0,
) -> list[Mechanism]:
    """Put the mechanism at every place of the site; the new modules, each once, in the order they run.

    `image` is the shape of one input of the network: (channels, height, width), or as `sites.observe` has
    it for clips and skeletons. The weights drawn depend on `seed` alone and the global random state stays as
    it was. The mechanism `none` touches nothing. Raises `UserError` for unknown names and patterns that match
    nothing, `Impossible` where the mechanism cannot stand; the network is then as it was.
    """
    cls = _mechanism(mechanism, options)
    if mechanism == "none":
        return []
    if site.head and (own := _head(model, cls, options, site, image, seed)) is not None:
        return own
    spots, useless = observe(model, site, image), absorbed(model, site)
    for spot in spots:
        _check(spot, site)
    reference = next(model.parameters())
    with _random_stream(seed):
        built = _build(cls, options, [spot.place for spot in spots])
    for spot, module in zip(spots, built):
        _fit(spot, module)
    for index, (spot, module) in enumerate(zip(spots, built)):
        module.to(reference.device, reference.dtype).train(model.training)
        first = module not in built[:index]
        call = _Call(site.layout, site.prefix, spot.place.size, first, spot.place.frames)
        _attach(model, spot, module, call)
    absorb(model, useless)
    return list(dict.fromkeys(built))


def _head(
    model: nn.Module,
    cls: type[Mechanism],
    options: Mapping[str, Any],
    site: Site,
    image: tuple[int, ...],
    seed: int,
) -> list[Mechanism] | None:
    """Put the mechanism's own head where the site says; None where it has none or no head tells of itself."""
    spots = observe(model, replace(site, after=[], before=[], instead=site.head), image)
    reference = next(model.parameters())
    found = []
    for spot in spots:
        if not hasattr(spot.module, "place"):
            return None
        with _random_stream(seed):
            head = cls.head(spot.place, **options)
        if head is None:
            return None
        head.to(reference.device, reference.dtype).train(model.training)
        _replace(model, spot, head)
        found += mechanisms(head)
    return list(dict.fromkeys(found))


def places(model: nn.Module, site: Site, image: tuple[int, ...]) -> list[Place]:
    """The places of a site, in the order they run, as seen in a dry run on one black input.

    A stage is a set of places with maps of equal size, counted in the order of their first appearance; for
    a place `instead` of a module its output's size counts. The network is left as it was.
    """
    return [spot.place for spot in observe(model, site, image)]


def mechanisms(model: nn.Module) -> list[Mechanism]:
    """The mechanisms in a network, each once; parts of a mechanism that are mechanisms are not listed."""
    found: dict[Mechanism, None] = {}
    rest = [model]
    while rest:
        module = rest.pop(0)
        if isinstance(module, Mechanism):
            found[module] = None
        else:
            rest[:0] = module.children()
    return list(found)


def no_weight_decay(model: nn.Module) -> set[str]:
    """Dotted names of the parameters that the mechanisms' papers exclude from weight decay."""
    parts = ((name, m) for name, m in model.named_modules() if isinstance(m, Mechanism))
    return {f"{name}.{own}".lstrip(".") for name, m in parts for own in m.no_weight_decay()}


def lr_scale(model: nn.Module) -> dict[str, float]:
    """Factors on the learning rate that the mechanisms ask for, by the parameters' dotted names."""
    parts = ((name, m) for name, m in model.named_modules() if isinstance(m, Mechanism))
    return {f"{name}.{own}".lstrip("."): by for name, m in parts for own, by in m.lr_scale().items()}


def _mechanism(mechanism: str | type[Mechanism], options: Mapping[str, Any]) -> type[Mechanism]:
    if not isinstance(mechanism, str):
        return mechanism
    for option in options:
        if option not in entry(mechanism).options:
            raise unknown(f"option of {mechanism}", option, entry(mechanism).options)
    return load(mechanism)


def _check(spot: Spot, site: Site) -> None:
    """Raise `UserError` where nothing can be attached."""
    if spot.how != "instead" and "attention" in spot.module._modules:
        raise UserError(f"{spot.name}: an attention stands there already")
    if spot.how == "instead" and site.layout in (Layout.BHWC, Layout.BNC):
        raise UserError(f"{spot.name}: a module can be replaced in layout BCHW only, not in {site.layout}")


def _fit(spot: Spot, mechanism: Mechanism) -> None:
    """Raise `Impossible` where a mechanism would be handed what it cannot read."""
    name = type(mechanism).__name__
    if spot.how != "instead" and mechanism.returns != "map":
        raise Impossible(f"{spot.name}: {name} ends in scores, so it stands instead of a control that does")
    if spot.how != "instead" and spot.arrives == "map" and mechanism.reads != "skeleton":
        return  # a clip's frames are handed over as either kind needs them
    if mechanism.reads != spot.arrives:
        raise Impossible(f"{spot.name}: {spot.arrives}s arrive there; {name} reads {mechanism.reads}s")


def _build(cls: type[Mechanism], options: Mapping[str, Any], where: list[Place]) -> list[Mechanism]:
    """One module for each place; places to which the mechanism gives equal keys have theirs in common."""
    shared: dict[Hashable, Mechanism] = {}
    built = []
    for place in where:
        _check_role(cls, place)
        try:
            key = cls.share(place, **options)
            module = shared.get(key) if key is not None else None
            module = cls.at(place, **options) if module is None else module
        except Impossible as reason:
            raise Impossible(f"{place.name}: {reason}") from None
        if key is not None:
            shared[key] = module
        built.append(module)
    return built


def _check_role(cls: type[Mechanism], place: Place) -> None:
    """Raise `Impossible` where what weighs a map would stand instead of the convolution that makes it."""
    if not isinstance(place.replaces, nn.Conv2d):
        return
    sites = (cls.card.site,) if isinstance(cls.card.site, str) else cls.card.site
    if CONVOLUTION not in sites:
        raise Impossible(f"{place.name}: {cls.__name__} stands beside a convolution, not instead of one")


@contextmanager
def _random_stream(seed: int) -> Iterator[None]:
    """Draw from a CPU stream of the seed's own; afterwards the global one is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed + STREAM)
        yield


def _attach(model: nn.Module, spot: Spot, mechanism: Mechanism, call: "_Call") -> None:
    if spot.how == "instead":
        _replace(model, spot, mechanism)
        return
    spot.module.add_module("attention", mechanism)
    if spot.how == "after":
        handle = spot.module.register_forward_hook(partial(_after, call=call))
    else:
        handle = spot.module.register_forward_pre_hook(partial(_before, call=call))
    # Hooks are numbered by process: loading a pickled handle keeps later hooks from taking this one's number.
    spot.module._attention_handle = handle  # type: ignore[assignment]


def _replace(model: nn.Module, spot: Spot, module: nn.Module) -> None:
    parent, _, name = spot.name.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


def _after(module: nn.Module, args: tuple[Any, ...], output: Tensor, *, call: "_Call") -> Tensor:
    attention = cast(Mechanism, module.attention)
    if attention.gated and len(args) > 1 and isinstance(args[1], Tensor):
        return attention(output, *args[1:])
    return call(attention, output)


def _before(module: nn.Module, args: tuple[Any, ...], *, call: "_Call") -> tuple[Any, ...]:
    return call(cast(Mechanism, module.attention), args[0]), *args[1:]


@dataclass(frozen=True)
class _Call:
    """How a place hands its map to its mechanism, and gets it back in the same layout."""

    layout: Layout
    prefix: int
    size: tuple[int, int]
    first: bool  # of the places that share the mechanism
    frames: int | None = None  # of the clips whose frames are the batch there

    def __call__(self, mechanism: Mechanism, x: Tensor) -> Tensor:
        if self.first:
            mechanism.start_pass()
        if self.layout == Layout.BHWC:
            return _own(self._map(mechanism, x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        if self.layout == Layout.BNC:
            tokens = x[:, self.prefix :].transpose(1, 2).unflatten(2, self.size)
            mapped = self._map(mechanism, tokens).flatten(2).transpose(1, 2)
            return torch.cat([x[:, : self.prefix], mapped], 1)
        return _own(self._map(mechanism, x))

    def _map(self, mechanism: Mechanism, x: Tensor) -> Tensor:
        """What the mechanism makes of maps (n, c, h, w), which for some are to be clips."""
        if mechanism.reads != "clip" or x.ndim != 4:
            return mechanism(x)
        return mechanism(x.unflatten(0, (-1, self.frames or 1))).flatten(0, 1)


def _own(y: Tensor) -> Tensor:
    """y, or a copy where y serves its own gradient: some blocks then add their shortcut to it in place."""
    if torch.compiler.is_compiling() or not hasattr(y.grad_fn, "_saved_result"):
        return y
    return y.clone()
