"""Taking mechanisms out of a network again, which is then as it was before they were grafted."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from attnbench.config.schema import Site
from attnbench.errors import UserError
from attnbench.grafting.absorb import absorbed
from attnbench.grafting.attached import Attached, inside, outer, put
from attnbench.grafting.call import Image
from attnbench.grafting.exchange import exchange
from attnbench.grafting.graft import named_mechanisms
from attnbench.grafting.sites import Spot, match
from attnbench.mechanisms.base import Mechanism


@dataclass(frozen=True)
class Undo:
    """What a grafting put into a network, and what it took out."""

    new: tuple[Mechanism, ...]
    replaced: Mapping[str, nn.Module]  # dotted name -> the network's own module
    dtype: torch.dtype  # of the network at that time


def replaced(model: nn.Module, spots: Collection[Spot], site: Site) -> dict[str, nn.Module]:
    """The modules that grafting at a site may take out of a network, by dotted name."""
    heads = [name for pattern in site.head for name in match(model, pattern)]
    others = {name: inside(model.get_submodule(name)) for name in (*absorbed(model, site), *heads)}
    return others | {spot.name: spot.module for spot in spots if spot.how == "instead"}


def dtype_of(model: nn.Module) -> torch.dtype:
    """Of its first parameter."""
    return next((p.dtype for p in model.parameters()), torch.get_default_dtype())


def ungraft(model: nn.Module, undo: Undo) -> None:
    """Undo one grafting, the last that concerns its modules; others stay."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    changed = dtype_of(model) != undo.dtype
    for name, module in undo.replaced.items():
        module.to(device, dtype_of(model) if changed else None).train(model.training)
        put(model, name, module)
    _detach(model, undo.new)


def detach_all(model: nn.Module) -> None:
    """Take out all that stands after or before modules; raises `UserError` where others stand instead."""
    wrappers = list(_wrappers(model))
    new = [module._modules[name] for module in wrappers for name in module.attached]
    alone = [name for name, module in named_mechanisms(model).items() if module not in new]
    if alone:
        raise UserError(
            f"{outer(alone[0])}: stands instead of a module that a copy of the network does not keep; build "
            "the network anew, or ungraft the one that was grafted"
        )
    _detach(model, [m for m in new if isinstance(m, Mechanism)])


def _detach(model: nn.Module, new: Collection[Mechanism]) -> None:
    """Take mechanisms out of their wrappers, and away the wrappers that hold none any more."""
    for wrapper in _wrappers(model):
        for name in [name for name in wrapper.attached if wrapper._modules[name] in new]:
            del wrapper._modules[name]
            wrapper._before.pop(name, None)
            wrapper._after.pop(name, None)
    empty = {id(w): w.wrapped for w in _wrappers(model) if not w.attached}
    exchange(model, empty)
    _forget_images(model)


def _wrappers(model: nn.Module) -> Iterator[Attached]:
    yield from (module for module in model.modules() if isinstance(module, Attached))


def _forget_images(model: nn.Module) -> None:
    """Remove the hooks that note an image's size for places of tokens that are no longer there."""
    calls = (c for w in _wrappers(model) for c in (*w._before.values(), *w._after.values()))
    used = {id(call.image) for call in calls}
    for module in model.modules():
        for number, hook in list(module._forward_pre_hooks.items()):
            owner = getattr(hook, "__self__", None)
            if isinstance(owner, Image) and id(owner) not in used:
                del module._forward_pre_hooks[number]
                module.__dict__.pop("_image_handle", None)
