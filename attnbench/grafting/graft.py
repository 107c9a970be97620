"""Grafting: put a mechanism at a site of a network. All surgery on networks happens here.

A mechanism that stands after or before a module shares a wrapper with it (see `attached`), where its name is
`attention`; state dicts of the plain network fit as before. Several may stand at one place: those grafted
first act first. One that stands instead of a module takes its name in its parent.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from attnbench.config.schema import Layout, Site
from attnbench.errors import UserError
from attnbench.grafting.absorb import absorb, absorbed
from attnbench.grafting.attached import put, wrap
from attnbench.grafting.build import Builder, build, builder, random_stream
from attnbench.grafting.call import Call, Image
from attnbench.grafting.sites import Spot, observe
from attnbench.mechanisms.base import Mechanism, Place

Example = tuple[Any, ...] | None


def graft(
    model: nn.Module,
    mechanism: str | Callable[..., nn.Module],
    options: Mapping[str, Any],
    site: Site,
    image: tuple[int, ...] = (),
    seed: int = 0,
    example: Example = None,
) -> list[Mechanism]:
    """Put the mechanism at every place of the site; the new modules, each once, in the order they run.

    `mechanism` is a name, a class of mechanisms, or any class or function that makes a module for maps
    (b c h w) from their channels and the options. `image` is the shape of one input of the network:
    (channels, height, width), or as `sites.observe` has it for clips and skeletons. A network that takes
    something else, such as several inputs or a list of images, is given an `example` of its inputs.

    The weights drawn depend on `seed` alone and the global random state stays as it was. Parameters that the
    mechanism declares untrained require no gradient. The mechanism `none` touches nothing. Raises `UserError`
    for unknown names and patterns that match nothing, `Impossible` where the mechanism cannot stand; the
    network is then as it was.
    """
    make = builder(mechanism, options)
    if mechanism == "none":
        return []
    image = image or _image(example)
    if site.head and (own := _head(model, make, options, site, image, seed)) is not None:
        return own
    spots, useless = observe(model, site, image, example), absorbed(model, site)
    for spot in spots:
        _check(spot)
    built = build(make, options, spots, seed)
    for module in dict.fromkeys(built):
        _prepare(module, model)
    _attach(model, spots, built, site, image)
    absorb(model, useless)
    return list(dict.fromkeys(built))


def _image(example: Example) -> tuple[int, ...]:
    """The shape of the first image in an example."""
    tensors = [x for x in tree_leaves(example) if isinstance(x, Tensor) and x.ndim > 2]
    if not tensors:
        raise UserError("graft: give the image's shape (channels, height, width), or example=(input, ...)")
    return tuple(tensors[0].shape[-3:])


def _head(
    model: nn.Module,
    make: Builder,
    options: Mapping[str, Any],
    site: Site,
    image: tuple[int, ...],
    seed: int,
) -> list[Mechanism] | None:
    """Put the mechanism's own head where the site says; None where it has none or no head tells of itself."""
    spots = observe(model, replace(site, after=[], before=[], instead=site.head), image)
    found = []
    for spot in spots:
        if not hasattr(spot.module, "place"):
            return None
        with random_stream(seed):
            head = make.head(spot.place, **options)
        if head is None:
            return None
        _prepare(head, model)
        put(model, spot.name, head)
        found += mechanisms(head)
    return list(dict.fromkeys(found))


def places(model: nn.Module, site: Site, image: tuple[int, ...], example: Example = None) -> list[Place]:
    """The places of a site, in the order they run, as seen in a dry run on one black input.

    A stage is a set of places with maps of equal size, counted in the order of their first appearance; for
    a place `instead` of a module its output's size counts. The network is left as it was.
    """
    return [spot.place for spot in observe(model, site, image, example)]


def mechanisms(model: nn.Module) -> list[Mechanism]:
    """The mechanisms in a network, each once; parts of a mechanism that are mechanisms are not listed."""
    return list(named_mechanisms(model).values())


def named_mechanisms(model: nn.Module) -> dict[str, Mechanism]:
    """As `mechanisms`, by their dotted names, of which the first counts."""
    found: dict[Mechanism, str] = {}
    rest = [("", model)]
    while rest:
        name, module = rest.pop(0)
        if isinstance(module, Mechanism):
            found.setdefault(module, name)
        else:
            rest[:0] = [(f"{name}.{child}".lstrip("."), m) for child, m in module.named_children()]
    return {name: module for module, name in found.items()}


def no_weight_decay(model: nn.Module) -> set[str]:
    """Dotted names of the parameters that the mechanisms' papers exclude from weight decay."""
    parts = ((name, m) for name, m in model.named_modules() if isinstance(m, Mechanism))
    return {f"{name}.{own}".lstrip(".") for name, m in parts for own in m.no_weight_decay()}


def lr_scale(model: nn.Module) -> dict[str, float]:
    """Factors on the learning rate that the mechanisms ask for, by the parameters' dotted names."""
    parts = ((name, m) for name, m in model.named_modules() if isinstance(m, Mechanism))
    return {f"{name}.{own}".lstrip("."): by for name, m in parts for own, by in m.lr_scale().items()}


def _check(spot: Spot) -> None:
    """Raise `UserError` where nothing can be put instead."""
    if spot.how == "instead" and spot.layout in (Layout.BHWC, Layout.BNC):
        raise UserError(f"{spot.name}: a module can be replaced in layout BCHW only, not in {spot.layout}")


def _prepare(module: nn.Module, model: nn.Module) -> None:
    """Give a new module the network's device, type and mode, and its untrained parameters no gradient."""
    reference = next(model.parameters(), torch.empty(0))
    module.to(reference.device, reference.dtype).train(model.training)
    for mechanism in mechanisms(module):
        for name in mechanism.untrained:
            mechanism.get_parameter(name).requires_grad_(False)


def _attach(
    model: nn.Module, spots: Sequence[Spot], built: Sequence[Mechanism], site: Site, image: tuple[int, ...]
) -> None:
    """Put each mechanism where it belongs; only this changes the network."""
    tokens = next((s.entrance for s in spots if s.layout == Layout.BNC and s.entrance), None)
    seen = _watch(model.get_submodule(tokens), image) if tokens else None
    wrappers = wrap(model, [spot.name for spot in spots if spot.how != "instead"])
    for index, (spot, module) in enumerate(zip(spots, built)):
        if spot.how == "instead":
            put(model, spot.name, module)
            continue
        first = module not in built[:index]
        call = Call(spot.layout, site.prefix, spot.place.size, first, spot.place.frames, seen)
        wrappers[spot.name].attach(spot.how, module, call)


def _watch(entrance: nn.Module, image: tuple[int, ...]) -> Image:
    """The size of each pass's image, on which tokens have to be laid out."""
    seen = Image((image[-2], image[-1]))
    # Kept, and so pickled, with the module: elsewhere it keeps later hooks from taking this one's number.
    entrance._image_handle = entrance.register_forward_pre_hook(seen.see)  # type: ignore[assignment]
    return seen
