"""A global MLP on pooled features, added to every position: global context without a gate."""

from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism


class MLP(Mechanism):
    """f(x) = x + W2 relu(W1 GAP(x)): the parameters of SE, added to the map instead of weighing it."""

    card = Card(
        title="control: a global MLP",
        venue="",
        url="",
        tasks=(),
        g="global average pooling -> MLP",
        range=None,
        soft=True,
        goals=("separate attending from global context",),
        params=lambda c: 2 * c * max(c // 16, 1) + max(c // 16, 1) + c,
        site="residual",
    )

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.reduce = nn.Linear(channels, hidden)
        self.expand = nn.Linear(hidden, channels)

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 1 1"]:
        return self.expand(self.reduce(x.mean((2, 3))).relu())[:, :, None, None]

    def f(self, g: Float[Tensor, "b c 1 1"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return x + g
