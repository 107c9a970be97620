"""Sites: which modules of a network the patterns of a site name, and which maps arrive there."""

import re
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from attnbench.config.schema import Layout, Site
from attnbench.errors import Impossible, UserError, near
from attnbench.grafting.clone import copied
from attnbench.mechanisms.base import Place

COUNTED = re.compile(r"([A-Za-z_]*)-(\d+)")  # -1, layer-2: counted from the end among numbered siblings
KINDS = {2: "vector", 5: "clip"}  # of what arrives, by its number of axes
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Spot:
    """A module that a pattern names, and the place that it makes."""

    how: str  # after, before or instead
    name: str
    module: nn.Module
    place: Place
    arrives: str = "map"  # or clip, skeleton or vector; the frames of a clip may arrive as maps


def observe(model: nn.Module, site: Site, image: tuple[int, ...]) -> list[Spot]:
    """The spots of a site in the order they run, from a dry run on one black input.

    `image` is the input's shape: (channels, height, width), of a clip (frames, channels, height, width), of a
    skeleton (frames, joints, coordinates).

    Raises `UserError` where a pattern matches nothing, or names what never runs or holds no map, and
    `Impossible` where it names what the task has cut off from the network.
    """
    named = _named(model, site)
    seen = _dry_run(model, named, image)
    if missing := [name for _, name in named if name not in seen]:
        raise _idle(model, missing[0], image)
    stages: dict[Shape, int] = {}
    spots = []
    for name, (arrives, leaves) in seen.items():
        how = next(how for how, other in named if other == name)
        vector = how == "instead" and len(arrives) == 2
        channels, size, frames = (arrives[1], (1, 1), None) if vector else _map(name, arrives, site, image)
        keeps = how == "instead" and len(arrives) == len(leaves) > 2
        counts = _map(name, leaves, site, image)[1] if keeps else size
        module = model.get_submodule(name)
        replaces = module if how == "instead" else None
        stage = stages.setdefault(counts, len(stages))
        said = getattr(module, "place", {})
        place = Place(name, channels, size, stage, 0, replaces, model, frames, **said)
        kind = "skeleton" if site.layout == Layout.BTJC else KINDS.get(len(arrives), "map")
        spots.append(Spot(how, name, module, place, kind))
    return [replace(spot, place=replace(spot.place, stages=len(stages))) for spot in spots]


# Patterns


def _named(model: nn.Module, site: Site) -> list[tuple[str, str]]:
    """(after, before or instead; dotted name) of each module that the site's patterns name, each once."""
    found = {}
    for how in ("after", "before", "instead"):
        for pattern in getattr(site, how):
            for name in match(model, pattern):
                found[name if how == "instead" else _runs(model, name, how)] = how
    if not found:
        raise UserError("the site names no module: give it patterns under after, before or instead")
    return [(how, name) for name, how in found.items()]


def match(model: nn.Module, pattern: str) -> list[str]:
    """Dotted names of the modules that fit a pattern, part by part: `layer*.*.bn3`, `layer3.-1`.

    `*`, `?` and `[1-3]` stand for characters of one part; `-1`, `layer-1` count from the end among the
    numbered siblings. Raises `UserError`, listing what is there, where nothing fits.
    """
    level = {"": model}
    for part in pattern.split("."):
        below = {
            f"{name}.{child}".lstrip("."): module.get_submodule(child)
            for name, module in level.items()
            for child in _fitting(_children(module), part)
        }
        if not below:
            raise _nothing(pattern, part, level)
        level = below
    return list(level)


def _children(module: nn.Module) -> list[str]:
    return [name for name, child in module._modules.items() if child is not None]


def _fitting(names: list[str], part: str) -> list[str]:
    counted = COUNTED.fullmatch(part)
    if counted is None:
        return [name for name in names if fnmatchcase(name, part)]
    stem, back = counted[1], int(counted[2])
    numbered = [name for name in names if name.startswith(stem) and name[len(stem) :].isdigit()]
    numbered.sort(key=lambda name: int(name[len(stem) :]))
    return numbered[-back : len(numbered) - back + 1] if 0 < back <= len(numbered) else []


def _nothing(pattern: str, part: str, level: dict[str, nn.Module]) -> UserError:
    there = list(dict.fromkeys(child for module in level.values() for child in _children(module)))
    where = next(iter(level)) or "the network"
    holds = f"{where} and {len(level) - 1} more hold" if len(level) > 1 else f"{where} holds"
    holds += f": {', '.join(there[:20])}" if there else " no modules"
    close = near(part, there)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return UserError(f"pattern '{pattern}' matches nothing at '{part}': {holds}{hint}")


def _runs(model: nn.Module, name: str, how: str) -> str:
    """The module itself; of a plain Sequential, which would run a new child, its last or first module."""
    module = model.get_submodule(name)
    if isinstance(module, nn.ModuleList | nn.ModuleDict):
        raise UserError(f"{name}: a {type(module).__name__} takes no attention; name the modules in it")
    if type(module).forward is not nn.Sequential.forward or not _children(module):
        return name
    child = _children(module)[-1 if how == "after" else 0]
    return _runs(model, f"{name}.{child}", how)


# The dry run


def _idle(model: nn.Module, name: str, image: tuple[int, ...]) -> Exception:
    """Why nothing can stand at what did not run."""
    if isinstance(model.get_submodule(name), nn.Identity):  # what timm leaves of a head that it takes off
        return Impossible(f"{name}: this task's network ends before it, so nothing can stand there")
    return UserError(f"{name}: never runs on an image of {_text(image)}, so nothing can stand there")


def _dry_run(
    model: nn.Module, named: list[tuple[str, str]], image: tuple[int, ...]
) -> dict[str, tuple[Shape, Shape]]:
    """Shapes of what arrives at and what leaves each place, by name, in the order they run.

    It runs on a copy without numbers: in no time, and with no trace in the network or the random state.
    """
    seen: dict[str, tuple[Shape, Shape]] = {}

    def before(name: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        seen.setdefault(name, (_shape(name, *args), _shape(name, *args)))

    def after(name: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        seen.setdefault(name, (_shape(name, output), _shape(name, output)))

    def instead(name: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        seen.setdefault(name, (_shape(name, *args), _shape(name, output)))

    ghost = copied(model, torch.device("meta"))
    with torch.no_grad(), ExitStack() as hooks:
        for how, name in named:
            module = ghost.get_submodule(name)
            if how == "before":
                hooks.enter_context(module.register_forward_pre_hook(partial(before, name)))
            else:
                hook = after if how == "after" else instead
                hooks.enter_context(module.register_forward_hook(partial(hook, name)))
        dtype = next(model.parameters()).dtype
        ghost(torch.zeros(1, *image, device="meta", dtype=dtype))
    return seen


def _shape(name: str, x: Any = None, *rest: Any) -> Shape:
    if not isinstance(x, Tensor):
        raise UserError(f"{name}: a {type(x).__name__} passes there, not one tensor; nothing can stand there")
    return tuple(x.shape)


def _map(
    name: str, shape: Shape, site: Site, image: tuple[int, ...]
) -> tuple[int, tuple[int, int], int | None]:
    """Channels, (height, width) and frames of what a tensor of that shape holds in the site's layout."""
    clip = len(image) == 4
    frames = shape[0] if clip else None  # the dry run's batch is one clip, whose frames are images here
    if len(shape) == 5 and site.layout == Layout.BTCHW:
        return shape[2], (shape[3], shape[4]), shape[1]
    if len(shape) == 4 and (site.layout == Layout.BCHW or (clip and site.layout == Layout.BTCHW)):
        return shape[1], (shape[2], shape[3]), frames
    if len(shape) == 4 and site.layout == Layout.BHWC:
        return shape[3], (shape[1], shape[2]), frames
    if len(shape) == 4 and site.layout == Layout.BTJC:
        return shape[2] * shape[3], (shape[2], shape[3]), shape[1]
    if len(shape) == 3 and site.layout == Layout.BNC:
        return shape[2], _grid(name, shape[1] - site.prefix, image), frames
    raise UserError(f"{name}: a tensor of shape {shape} passes there, no map of layout {site.layout}")


def _grid(name: str, tokens: int, image: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of tokens that cover the image in equal squares."""
    height, width = image[-2:]
    rows = round((tokens * height / width) ** 0.5) if tokens > 0 else 0
    if rows == 0 or tokens % rows or rows * width != tokens // rows * height:
        raise UserError(
            f"{name}: {tokens} tokens are no grid over {_text(image)}; is the site's prefix right?"
        )
    return rows, tokens // rows


def _text(image: tuple[int, ...]) -> str:
    return f"{image[-2]}x{image[-1]} px" if len(image) == 3 else "x".join(map(str, image))
