"""A global MLP on pooled features, added to every position or instead of the classifier: no gate."""

from typing import Any, Self

from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import Impossible
from attnbench.mechanisms.base import Card, Mechanism, Place

HIDDEN = 64  # units of the classifier


class MLP(Mechanism):
    """f(x) = x + W2 relu(W1 GAP(x)): the parameters of SE, added to the map instead of weighing it.

    Instead of a linear classifier, at site `gates`, it is the classifier with a hidden layer.
    """

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

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        if isinstance(place.replaces, nn.Linear):
            if options.get("reduction", 16) != 16:
                raise Impossible(f"instead of a classifier it has {HIDDEN} hidden units, and no reduction")
            return Classifier(place.channels, place.replaces.out_features)  # type: ignore[return-value]
        return super().at(place, **options)

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 1 1"]:
        return self.expand(self.reduce(x.mean((2, 3))).relu())[:, :, None, None]

    def f(self, g: Float[Tensor, "b c 1 1"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return x + g


class Classifier(Mechanism):
    """f(x) = V relu(W x) instead of a linear classifier: features of the whole image meet before it."""

    reads = "vector"
    returns = "logits"

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.hide = nn.Linear(channels, HIDDEN)
        self.classify = nn.Linear(HIDDEN, classes)

    def g(self, x: Float[Tensor, "b c"]) -> Float[Tensor, "b h"]:
        return self.hide(x).relu()

    def f(self, g: Float[Tensor, "b h"], x: Float[Tensor, "b c"]) -> Float[Tensor, "b classes"]:
        return self.classify(g)
