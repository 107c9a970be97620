"""Mechanisms by name: which there are, what their papers say of them, and one as a module."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from attnbench import mechanisms
from attnbench.config import options as rules
from attnbench.errors import Impossible, UserError, unknown
from attnbench.sweeping.words import tags

if TYPE_CHECKING:
    from torch import nn

    from attnbench.mechanisms.base import Mechanism, Place

CATEGORIES = (*mechanisms.CATEGORIES[1:], mechanisms.CONTROL)
CONTEXT = ("size", "frames", "classes", "steps")  # what some mechanisms are built for beside the channels
REQUIRED = {  # of these -> how it is given
    "size": "size=(height, width) of the map",
    "frames": "frames=N of a clip",
    "classes": "classes=N of the scores",
}


@dataclass(frozen=True, repr=False)
class MechanismCard:
    """What a mechanism's paper says of it, in the survey's columns, and what it takes."""

    name: str
    category: str
    summary: str
    title: str
    venue: str
    url: str
    tasks: tuple[str, ...]
    g: str  # how the attention map is made
    range: tuple[float, float] | None  # of the map's entries
    soft: bool
    goals: tuple[str, ...]
    params: str  # learnable parameters as an expression of the channels
    sites: tuple[str, ...]  # where the paper puts it: the first that a network has counts
    options: Mapping[str, Any]  # option -> default
    accepts: Mapping[str, str] = field(default_factory=dict)  # option -> the values that it takes, in words

    def __repr__(self) -> str:
        return f"<{self.name}: {self.title}, {self.venue}; {self.category}, site {' or '.join(self.sites)}>"


def list_mechanisms(category: str | None = None, tag: str | None = None) -> list[str]:
    """Names of the mechanisms, in the survey's order of categories.

    `category` is one of channel, spatial, temporal, branch, channel_spatial, spatial_temporal and control;
    `tag` a word of their cards in lower case: soft, hard, a task, a site, a venue or a year. Raises
    `UserError` for a category or tag that none has.
    """
    if category is not None and category not in CATEGORIES:
        raise unknown("category", category, CATEGORIES)
    found = [e for e in mechanisms.known().values() if e.name != "none"]
    if tag is not None:
        every = {tag for entry in found for tag in tags(entry)}
        if tag.lower() not in every:
            raise unknown("tag", tag, every)
        found = [entry for entry in found if tag.lower() in tags(entry)]
    return [e.name for e in found if (e.category == category if category else not e.controls)]


def card(name: str) -> MechanismCard:
    """What the mechanism's paper says of it; raises `UserError`, with near names, for an unknown one."""
    entry = mechanisms.entry(name)
    columns = ("title", "venue", "url", "tasks", "g", "range", "soft", "goals", "params")
    return MechanismCard(
        name=entry.name,
        category=entry.category,
        summary=entry.summary,
        **{column: entry.card[column] for column in columns},
        sites=entry.sites,
        options=dict(entry.options),
        accepts={name: argument.meaning for name, argument in entry.arguments.items()},
    )


def create(name: str, channels: int, **options: Any) -> "nn.Module":
    """The mechanism as a module for maps (b, channels, h, w), its weights from torch's global generator.

    `options` are the mechanism's own (`card(name).options`). Some are built for more than the channels and
    take it here, too: `size`, the map's (height, width); `frames` of a clip; `classes` and `steps` of what
    ends in scores (None: one label). What stands instead of a convolution is built for one of 3x3 that keeps
    the size. Raises `UserError` for what is unknown, missing or out of its bounds.
    """
    entry = mechanisms.entry(name)
    given = {k: v for k, v in options.items() if k in CONTEXT and k not in entry.arguments}
    own = {k: v for k, v in options.items() if k not in given}
    rules.check(own, entry.arguments, name, name)
    if isinstance(channels, bool) or not isinstance(channels, int) or channels < 1:
        raise UserError(f"channels={channels!r} of {name}: must be a whole number, 1 or more")
    kind = mechanisms.load(name)
    needed = _needed(kind)
    if not needed and not given:
        return kind(channels, **own)
    for key in REQUIRED:
        if key in needed and key not in given:
            raise UserError(f"{name} is built for {REQUIRED[key]}: give it to create, too")
    try:
        return kind.at(_place(kind, channels, **given), **own)
    except Impossible as error:
        raise UserError(f"{name}: {error}") from error


def _needed(kind: "type[Mechanism]") -> set[str]:
    """The arguments beside the channels that have no default."""
    parameters = list(inspect.signature(kind.__init__).parameters.values())[2:]
    return {p.name for p in parameters if p.default is p.empty}


def _place(
    kind: "type[Mechanism]",
    channels: int,
    size: tuple[int, int] = (0, 0),
    frames: int | None = None,
    classes: int = 0,
    steps: int | None = None,
) -> "Place":
    """A place that is no part of a network."""
    from torch import nn

    from attnbench.checks.case import Control
    from attnbench.mechanisms.base import Place

    replaces: nn.Module = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    if kind.returns == "logits":
        replaces = Control(classes, steps, channels)
    size = (channels // 3, 3) if kind.reads == "skeleton" else size
    return Place("create", channels, size, replaces=replaces, frames=frames)
