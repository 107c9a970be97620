"""The backbone with more channels, as costly as with the mechanism `of`: capacity without attention."""

from typing import ClassVar, Literal, Self

from torch import Tensor

from attnbench.errors import Impossible
from attnbench.mechanisms.base import Card, Mechanism, Place


class Wide(Mechanism):
    """Nothing is grafted: a run builds the backbone in another width, with `by` equal to the candidate's."""

    card = Card(
        title="control: a backbone of equal cost with more channels",
        venue="",
        url="",
        tasks=(),
        g="1",
        range=(1.0, 1.0),
        soft=True,
        goals=("separate attention from capacity",),
        params=lambda c: 0,
        site="residual",
        identity=True,
    )
    resizes: ClassVar[str] = "width"

    def __init__(self, channels: int, of: str = "none", by: Literal["macs", "params"] = "macs") -> None:
        super().__init__()

    @classmethod
    def at(cls, place: Place, **options: object) -> Self:
        """Raises `Impossible`: there is nothing to put at a place."""
        raise Impossible("a control that changes the whole backbone is built by a run, not grafted")

    def g(self, x: Tensor) -> Tensor:
        """A map of ones, (b, 1, 1, 1)."""
        return x.new_ones(x.shape[0], 1, 1, 1)
