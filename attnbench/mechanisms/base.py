"""A Mechanism, `forward(x) = f(g(x), x)`, and the Card that its paper fills in."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import signature
from typing import Any, ClassVar, Literal, Protocol, Self, get_args, get_origin, runtime_checkable

from torch import Tensor, nn

from attnbench.errors import unknown


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
    site: str | tuple[str, ...]  # where the paper puts it: sites of `conf/`, the first that a network has
    identity: bool = False  # whether a fresh module returns its input exactly


@dataclass(frozen=True)
class Place:
    """One spot of a network where a mechanism is to stand, as seen in a dry run on one image."""

    name: str  # dotted name of the module it stands after, before or instead of
    channels: int  # of the map that arrives; of a skeleton, joints times coordinates
    size: tuple[int, int]  # height and width of that map, in positions; of a skeleton, joints and coordinates
    stage: int = 0  # index among the stages (maps of equal size) that the site covers, from 0
    stages: int = 1
    replaces: nn.Module | None = None  # the module it stands instead of
    model: nn.Module | None = None  # the network, for what must see more than the map that arrives
    frames: int | None = None  # of the clip that the map belongs to, or of the skeleton; None: single images
    # What a module says of the places at it, in its attribute `place`; a segmentation network's parts do:
    width: int = 0  # channels that its head works with
    levels: tuple[int, ...] = ()  # channels of the maps of the encoder's stages
    classes: int = 0  # that the network tells apart
    signal: int = 0  # channels of the gating signal


@runtime_checkable
class Control(Protocol):
    """What a task's network ends in, as a mechanism that stands instead of it sees it."""

    classes: int
    width: int  # of the features that it classifies


@runtime_checkable
class SequenceControl(Control, Protocol):
    """A control that may name a sequence."""

    steps: int | None  # labels of a sequence; None: it names one label


class ForgetsLastPass(nn.Module):
    """A module whose copies and pickles leave behind what it remembers of its last forward pass."""

    last_pass: ClassVar[tuple[str, ...]] = ()  # attributes that are None where no pass is remembered

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, **dict.fromkeys(self.last_pass)}


@cache
def _closed(cls: type) -> tuple[tuple[str, ...], Mapping[str, tuple[Any, ...]]]:
    """Names of the arguments of `__init__` behind self, and the values of those that are closed choices."""
    found = list(signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]  # of a class, not of one
    closed = {p.name: get_args(p.annotation) for p in found if get_origin(p.annotation) is Literal}
    return tuple(p.name for p in found), closed


class Mechanism(ForgetsLastPass):
    """An attention mechanism for maps of shape (b, c, h, w): `g` makes the map, `f` applies it.

    Attributes state what else a network may hand over, and expect:

    - `reads = "clip"` (of the class, or set by an instance): x is (b, t, c, h, w) wherever it stands, with
      one frame where the network knows images alone. Otherwise a clip's frames arrive as images (b t, c, h,
      w).
    - `reads = "vector"`: stands `instead` of a layer that takes (b, c), as a network's classifier does.
    - `reads = "skeleton"`: x is (b, t, joints, coordinates), at site `network`.
    - `returns = "logits"`: stands `instead` of a `Control`, its place's `replaces`, and returns what that
      does. At `head` and `network` these are logits (b, classes). A head that offers `embed(x) -> (b, d)`
      serves retrieval, too. At `decoder`, and at `network` of task sequence, they are logits (b, steps,
      classes), the last class being the end symbol; `forward(x, targets=None)` receives the targets
      (b, steps) in training, -100 after the end symbol.

    A subclass carries a `card`, takes `channels` first and its options after it, each with a literal
    default: the command line reads them from the source, without importing torch. A `forward` of its
    own may be faster than `f(g(x), x)`; `attnbench.checks.suite` demands that both agree.
    """

    card: ClassVar[Card]
    untrained: ClassVar[frozenset[str]] = frozenset()  # parameters that the authors' training never reaches
    gated: ClassVar[bool] = False  # whether `forward` takes a gating signal after the map, where there is one
    reads: Literal["map", "clip", "vector", "skeleton"] = "map"
    returns: ClassVar[Literal["map", "logits"]] = "map"
    resizes: ClassVar[str] = ""  # of controls: width or depth of the backbone, instead of standing in it

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Raise `UserError` for an option that is annotated `Literal` and is none of its values."""
        names, closed = _closed(cls)  # type: ignore[arg-type]  # a class is hashable, mypy does not see it
        for name, value in {**dict(zip(names, args)), **options}.items():
            if name in closed and value not in closed[name]:
                mechanism = cls.__module__.rpartition(".")[2]
                raise unknown(f"{name} of {mechanism}", str(value), map(str, closed[name]))
        return super().__new__(cls)

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        """Build the module for a place; raises `Impossible`, with the reason, where it cannot stand."""
        return cls(place.channels, **options)

    @classmethod
    def head(cls, place: Place, **options: Any) -> nn.Module | None:
        """The paper's segmentation head around the mechanism; None: it stands within the plain head.

        `place` is that of the plain head: `channels` of the encoder's last map, `width`, `levels`, `classes`.
        It is a `layers.segmentation_head.SegmentationHead`.
        """
        return None

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

        `targets` as the task has them: classes (b,), soft labels (b, classes), label maps (b, h, w), or
        sequences (b, steps) with -100 after the end symbol.
        """
        return None

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Called before each epoch of training, the first being 0, for what follows a schedule."""

    def start_pass(self) -> None:
        """Called in each forward pass before the first of its places (those after or before a module)."""

    def pixels_seen(self) -> int | None:
        """Pixels of an image that one prediction reads, each as often as it is read; None: the image."""
        return None

    def no_weight_decay(self) -> set[str]:
        """Names of own parameters that the paper excludes from weight decay."""
        return set()

    def lr_scale(self) -> dict[str, float]:
        """Factors on the learning rate of own parameters, by name; those not named learn at the recipe's."""
        return {}
