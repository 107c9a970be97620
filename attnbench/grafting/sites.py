"""Sites: which modules of a network the patterns of a site name, and which maps arrive there."""

import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from attnbench.config.schema import Layout, Site
from attnbench.errors import Impossible, UserError, near
from attnbench.grafting.attached import Attached, inside
from attnbench.grafting.dry_run import Shape, dry_run
from attnbench.grafting.layouts import Reading, read
from attnbench.mechanisms.base import Place

COUNTED = re.compile(r"([A-Za-z_]*)-(\d+)")  # -1, layer-2: counted from the end among numbered siblings
REORDERS = ("Unroll",)  # classes of modules that leave tokens in another order (Hiera)
KINDS = {2: "vector", 5: "clip"}  # of what arrives, by its number of axes


@dataclass(frozen=True)
class Spot:
    """A module that a pattern names, and the place that it makes."""

    how: str  # after, before or instead
    name: str
    module: nn.Module
    place: Place
    arrives: str = "map"  # or clip, skeleton or vector; the frames of a clip may arrive as maps
    layout: Layout = Layout.BCHW
    entrance: str | None = None  # of the network: the module by which the image enters


def observe(
    model: nn.Module, site: Site, image: tuple[int, ...], example: tuple[Any, ...] | None = None
) -> list[Spot]:
    """The spots of a site in the order they run, from a dry run on one black input.

    `image` is the input's shape: (channels, height, width), of a clip (frames, channels, height, width), of a
    skeleton (frames, joints, coordinates). `example` are the inputs of a network that takes something else.

    Raises `UserError` where a pattern matches nothing, or names what never runs or holds no map, and
    `Impossible` where it names what the task has cut off from the network.
    """
    named = _named(model, site)
    run = dry_run(model, named, image, example)
    if missing := [name for _, name in named if name not in run.shapes]:
        raise _idle(model, missing[0], image)
    stages: dict[Shape, int] = {}
    spots = []
    for name, (arrives, leaves) in run.shapes.items():
        how = next(how for how, other in named if other == name)
        if how == "instead" and site.layout in (Layout.BHWC, Layout.BNC):
            raise UserError(f"{name}: a module can be replaced in layout BCHW only, not in {site.layout}")
        vector = how == "instead" and len(arrives) == 2
        here = Reading(Layout.BCHW, arrives[1], (1, 1)) if vector else read(name, arrives, site, image, run)
        keeps = how == "instead" and len(arrives) == len(leaves) > 2
        counts = read(name, leaves, site, image, run).size if keeps else here.size
        _check_order(model, name, here.layout)
        module = inside(model.get_submodule(name))
        stage = stages.setdefault(counts, len(stages))
        replaces, more = module if how == "instead" else None, getattr(module, "place", {})
        place = Place(name, here.channels, here.size, stage, 0, replaces, model, here.frames, **more)
        kind = "skeleton" if site.layout == Layout.BTJC else KINDS.get(len(arrives), "map")
        spots.append(Spot(how, name, module, place, kind, here.layout, run.entrance))
    return [replace(spot, place=replace(spot.place, stages=len(stages))) for spot in spots]


def _check_order(model: nn.Module, name: str, layout: Layout) -> None:
    """Raise `UserError` where tokens are not in the order of the image's rows."""
    shuffles = (n for n, m in model.named_modules() if type(m).__name__ in REORDERS)
    if layout == Layout.BNC and (module := next(shuffles, None)):
        raise UserError(f"{name}: tokens are out of the image's order there ('{module}' reorders them)")


# Patterns


def _named(model: nn.Module, site: Site) -> list[tuple[str, str]]:
    """(after, before or instead; dotted name) of each module that the site's patterns name, each once."""
    found: dict[str, str] = {}
    for how in ("after", "before", "instead"):
        for pattern in getattr(site, how):
            names = match(model, pattern)
            for name in _replaceable(model, names) if how == "instead" else names:
                found[name if how == "instead" else _runs(model, name, how)] = how
    if not found:
        raise UserError("the site names no module: give it patterns under after, before or instead")
    once = {id(model.get_submodule(name)): name for name in reversed(found)}  # a module may have two names
    return [(how, name) for name, how in found.items() if name in once.values()]


def _replaceable(model: nn.Module, names: list[str]) -> list[str]:
    """Of the modules that a pattern names, those that are more than a blank; all where all are blanks."""
    filled = [name for name in names if not isinstance(model.get_submodule(name), nn.Identity)]
    return filled or names


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
    """Names of the children, which are those of the wrapped module and of the mechanisms attached to it."""
    names = [name for name, child in inside(module)._modules.items() if child is not None]
    return [*names, *(module.attached if isinstance(module, Attached) else ())]


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
    module = inside(model.get_submodule(name))
    if isinstance(module, nn.ModuleList | nn.ModuleDict):
        raise UserError(f"{name}: a {type(module).__name__} takes no attention; name the modules in it")
    if type(module).forward is not nn.Sequential.forward or not _children(module):
        return name
    child = _children(module)[-1 if how == "after" else 0]
    return _runs(model, f"{name}.{child}", how)


def _idle(model: nn.Module, name: str, image: tuple[int, ...]) -> Exception:
    """Why nothing can stand at what did not run."""
    if isinstance(model.get_submodule(name), nn.Identity):  # what timm leaves of a head that it takes off
        return Impossible(f"{name}: this task's network ends before it, so nothing can stand there")
    return UserError(f"{name}: never runs on an image of {_text(image)}, so nothing can stand there")


def _text(image: tuple[int, ...]) -> str:
    return f"{image[-2]}x{image[-1]} px" if len(image) == 3 else "x".join(map(str, image))
