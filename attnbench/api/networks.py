"""Mechanisms into any network, and out of it again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args
from weakref import WeakKeyDictionary

from torch import nn

from attnbench.config.schema import Site
from attnbench.errors import Impossible, UserError, unknown
from attnbench.grafting import graft as grafting
from attnbench.grafting import ungraft as removing
from attnbench.grafting.dry_run import Shape
from attnbench.grafting.sites import observe
from attnbench.grafting.tokens import own_image, site_of

How = Literal["after", "before", "instead"]
Example = tuple[Any, ...] | None
Maker = str | Callable[..., nn.Module]
_undo: "WeakKeyDictionary[nn.Module, list[removing.Undo]]" = WeakKeyDictionary()  # of each network, in order


@dataclass(frozen=True)
class GraftedPlace:
    """One module of a network beside which, or instead of which, a mechanism stands."""

    name: str
    how: How
    channels: int
    size: tuple[int, int]  # height and width of the map


@dataclass(frozen=True, repr=False)
class Grafted:
    """What a grafting did: where the mechanisms stand, and the new modules, each once."""

    mechanism: str
    places: tuple[GraftedPlace, ...]
    modules: tuple[nn.Module, ...] = field(default=())

    @property
    def params(self) -> int:
        """Learnable parameters of the new modules."""
        return sum(p.numel() for module in self.modules for p in module.parameters())

    def __repr__(self) -> str:
        if not self.places:
            return f"<{self.mechanism}: nothing changed>"
        first, last = self.places[0], self.places[-1]
        ends = first.name if len(self.places) == 1 else f"{first.name} ... {last.name}"
        widths = sorted({place.channels for place in self.places})
        channels = f"{widths[0]}" if len(widths) == 1 else f"{widths[0]} to {widths[-1]}"
        places = f"{len(self.places)} place{'s' if len(self.places) > 1 else ''}"
        what = f"{channels} channels, {self.params:,} parameters"
        return f"<{self.mechanism} at {places}, {first.how} {ends}: {what}>"


def graft(
    model: nn.Module,
    mechanism: Maker,
    at: str | Sequence[str] = (),
    *,
    how: How = "after",
    site: Site | None = None,
    image: tuple[int, ...] | None = None,
    seed: int = 0,
    example: tuple[Any, ...] | None = None,
    **options: Any,
) -> Grafted:
    """Put a mechanism into a network, in place; what it did, and where the mechanisms stand.

    `mechanism` is a name, a class of mechanisms, or any class or function that makes a module for maps (b, c,
    h, w) from their channels and the `options`. `at` names modules by patterns of their dotted names, part by
    part (`layer*.*.bn2`; `layer3.-1` is the last of numbered ones), and `how` says where it stands: `after`,
    `before` or `instead` of them. A `site` says all that, and the layout, instead. `image` is the shape of
    one input, (channels, height, width), or (frames, channels, height, width) of clips; for a network with
    other inputs an `example` of them is given. The new weights depend on `seed` alone. Layouts (b, c, h, w),
    (b, h, w, c) and (b, tokens, c) are found out.

    Raises `UserError` where nothing fits a pattern or the mechanism cannot stand; the network is then as it
    was. `ungraft` takes the mechanisms out again.
    """
    name = mechanism if isinstance(mechanism, str) else getattr(mechanism, "__name__", "mechanism")
    if name == "none":
        return Grafted(name, ())
    shape = _shape(model, image, example)
    try:
        place = site or _site(model, at, how, shape, example)
        spots = observe(model, place, shape, example)
        undo, dtype = removing.replaced(model, spots, place), removing.dtype_of(model)
        new = tuple(grafting.graft(model, mechanism, options, place, shape, seed, example))
    except Impossible as error:
        raise UserError(str(error)) from error
    _undo.setdefault(model, []).append(removing.Undo(new, undo, dtype))
    places = (GraftedPlace(s.name, s.how, s.place.channels, s.place.size) for s in spots)  # type: ignore[arg-type]
    return Grafted(name, tuple(places), new)


def ungraft(model: nn.Module) -> None:
    """Take out all mechanisms that were grafted into a network, in place.

    Names, weights and outputs of the network are then those before. Raises `UserError` for a copy of a
    grafted network in which mechanisms stand instead of modules, which the copy does not keep.
    """
    steps = _undo.pop(model, None)
    if steps is None:
        removing.detach_all(model)
    for step in reversed(steps or []):
        removing.ungraft(model, step)


def _shape(model: nn.Module, image: Shape | None, example: Example) -> Shape:
    """The shape of one input."""
    if image is not None:
        return tuple(image)
    return own_image(model) if example is None else grafting._image(example)


def _site(model: nn.Module, at: str | Sequence[str], how: How, shape: Shape, example: Example) -> Site:
    if how not in get_args(How):
        raise unknown("way to stand (how)", str(how), get_args(How))
    patterns = [at] if isinstance(at, str) else list(at)
    if not patterns:
        raise UserError("graft: name modules by at=PATTERN, such as at='layer*', or give a site=")
    return site_of(model, patterns, how, shape, example)
