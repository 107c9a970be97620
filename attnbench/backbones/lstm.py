"""Skeletons by recurrent layers: the main network of STA-LSTM without its attention.

Song et al., "An End-to-End Spatio-Temporal Attention Model for Human Action Recognition from Skeleton Data",
AAAI 2017: three LSTM layers of 100 units, scores at every frame.
"""

from jaxtyping import Float
from torch import Tensor, nn


class Recurrent(nn.Module):
    """LSTM layers on the joints' coordinates; the frames' scores are averaged."""

    def __init__(self, classes: int, channels: int, width: int, layers: int) -> None:
        super().__init__()
        self.classes, self.width = classes, width
        self.lstm = nn.LSTM(channels, width, layers, batch_first=True)
        self.classify = nn.Linear(width, classes)

    def forward(self, x: Float[Tensor, "b t j c"]) -> Float[Tensor, "b classes"]:
        return self.classify(self.lstm(x.flatten(2))[0]).mean(1)


class Skeletons(nn.Module):
    """A sequence of joints (b t j c) -> scores, by the child `network`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Float[Tensor, "b t j c"]) -> Float[Tensor, "b classes"]:
        return self.network(x)


def build(classes: int, channels: int, width: int = 100, layers: int = 3) -> Skeletons:
    """The network; `channels` are joints times coordinates."""
    return Skeletons(Recurrent(classes, channels, width, layers))
