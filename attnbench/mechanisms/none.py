"""No attention: the control that every comparison is paired with."""

from torch import Tensor

from attnbench.mechanisms.base import Card, Mechanism


class NoAttention(Mechanism):
    """The identity, without parameters. Grafting it leaves a network as it is."""

    card = Card(
        title="no attention",
        venue="",
        url="",
        tasks=(),
        g="1",
        range=(1.0, 1.0),
        soft=True,
        goals=(),
        params=lambda c: 0,
        site="residual",
        identity=True,
    )

    def __init__(self, channels: int) -> None:
        super().__init__()

    def g(self, x: Tensor) -> Tensor:
        """A map of ones, (b, 1, 1, 1)."""
        return x.new_ones(x.shape[0], 1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x
