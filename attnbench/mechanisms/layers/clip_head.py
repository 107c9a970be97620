"""What stands for a clip's head: from the frames' maps to one vector, and on to the classes' scores."""

from typing import Any, Self

from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import Impossible, UserError
from attnbench.mechanisms.base import Control, Mechanism, Place


class ClipHead(Mechanism):
    """A mechanism between the frames' maps (b t c h w) and the scores (b classes).

    A subclass names its attention in `g` and makes of it and the maps a vector (b d) in `read`; `classify`
    is its classifier. It takes `channels` and `classes` first, and what it must know of the place after
    them, as `at` hands it over.
    """

    reads = "clip"
    returns = "logits"
    classify: nn.Module

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        return cls(place.channels, classes_of(place), **options)

    def read(self, g: Any, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        """The clip's vector, given its attention."""
        raise NotImplementedError(f"{type(self).__name__} defines no read")

    def embed(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        """The clip's vector, which retrieval compares."""
        return self.read(self.g(x), x)

    def f(self, g: Any, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b classes"]:
        return self.classify(self.read(g, x))

    def forward(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b classes"]:
        return self.classify(self.embed(x))


def classes_of(place: Place) -> int:
    """The number of classes of the head that is replaced; raises `Impossible` where there is none."""
    if not isinstance(place.replaces, Control):
        raise Impossible("it brings a classifier of its own: it stands instead of a task's head only")
    return place.replaces.classes


def frames_of(place: Place) -> int:
    """Frames of the clips that arrive; raises `Impossible` where single images do."""
    if place.frames is None:
        raise Impossible("it needs clips, and images arrive here")
    return place.frames


def demand_frames(name: str, x: Tensor, frames: int) -> None:
    """Raise `UserError` where clips of another length come than the module was built for."""
    if x.shape[1] != frames:
        raise UserError(
            f"{name}: a clip of {x.shape[1]} frames came, built for {frames}: its weights fix them"
        )
