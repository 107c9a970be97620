"""What a check demands: that something holds, is finite, or equals something else; and its two other ends."""

import unittest
from collections.abc import Callable

from torch import Tensor

from attnbench.checks.case import Case
from attnbench.errors import Impossible, UserError
from attnbench.mechanisms.base import Mechanism


class Broken(AssertionError):
    """A mechanism does not keep what is demanded of it."""


class Meaningless(unittest.SkipTest):
    """The check asks what cannot be asked of a mechanism of that kind."""


def demand(holds: object, otherwise: str) -> None:
    """Raise `Broken` with those words unless it holds."""
    if not holds:
        raise Broken(otherwise)


def finite(what: str, tensor: Tensor | None) -> None:
    """Demand that a tensor, if there is one, has no infinity and no NaN."""
    demand(tensor is None or tensor.isfinite().all(), f"{what} is not finite")


def fits(case: Case, x: Tensor, y: Tensor) -> bool:
    """Whether y has the shape that it ought to have."""
    return tuple(y.shape) == (case.result or tuple(x.shape))


def alive(gradient: Tensor | None) -> bool:
    """Whether there is a finite gradient that is not zero everywhere."""
    return gradient is not None and bool(gradient.isfinite().all()) and bool(gradient.abs().max() > 1e-12)


def same(what: str, ours: Tensor | None, theirs: Tensor | None, tolerance: float = 1e-9) -> None:
    """Demand equality, but for a share `tolerance` of the largest value."""
    if ours is None or theirs is None:
        return demand(ours is theirs, f"{what}: one is missing")
    demand(ours.shape == theirs.shape, f"{what}: {tuple(ours.shape)} against {tuple(theirs.shape)}")
    off = (ours - theirs).abs().max().item() / max(theirs.abs().max().item(), 1.0)
    demand(off <= tolerance, f"{what}: off by {off:.1e} of the largest value")


def unless_refused(
    use: Callable[[Mechanism, Tensor], Tensor], build: Callable[[], Mechanism], case: Case
) -> Tensor | None:
    """What `use` makes of the module and the case's map; nothing if it is refused in words."""
    try:
        return use(build(), case.x())
    except (Impossible, UserError):
        return None
