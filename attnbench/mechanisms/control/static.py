"""One learned gate a channel, the same for every input: an SE that does not attend."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism


class Static(Mechanism):
    """g = sigmoid(w), which starts at 1/2 as the gate of a fresh SE does."""

    card = Card(
        title="control: a gate without input",
        venue="",
        url="",
        tasks=(),
        g="sigmoid of a parameter",
        range=(0.0, 1.0),
        soft=True,
        goals=("separate attending from scaling channels",),
        params=lambda c: c,
        site="residual",
    )

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "1 c 1 1"]:
        return torch.sigmoid(self.weight).to(x.dtype)[None, :, None, None]
