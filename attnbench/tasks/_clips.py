"""Networks for clips: a backbone on each frame, then a head on all frames' maps."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from attnbench.backbones._trunk import channels_of, last_map, trunk
from attnbench.config.schema import Backbone
from attnbench.errors import Impossible, unknown


class TemporalMean(nn.Module):
    """The control: the mean over space and time, one linear layer; the order of frames is lost on it."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.width, self.classes = channels, classes
        self.classify = nn.Linear(channels, classes)

    def embed(self, maps: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b c"]:
        """The clip's vector."""
        return maps.mean((1, 3, 4))

    def forward(self, maps: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b classes"]:
        return self.classify(self.embed(maps))


class TemporalLSTM(TemporalMean):
    """The control that knows order: an LSTM as wide as the frames' means, its last state classified."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels, classes)
        self.lstm = nn.LSTM(channels, channels, batch_first=True)

    def embed(self, maps: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b c"]:
        """The clip's vector."""
        return self.lstm(maps.mean((3, 4)))[0][:, -1]


HEADS = {"mean": TemporalMean, "lstm": TemporalLSTM}


class Clips(nn.Module):
    """`encoder` on each frame, which is an image to it, then `head` on the maps (b t c h w)."""

    def __init__(
        self,
        backbone: Backbone,
        image: tuple[int, int, int],
        head: str,
        classes: int,
        retrieves: bool = False,
    ) -> None:
        super().__init__()
        if head not in HEADS:
            raise unknown("head of clips (task.options.head)", head, HEADS)
        self.retrieves = retrieves
        self.encoder = trunk(backbone, image)
        self.head: nn.Module = HEADS[head](channels_of(self.encoder, image), classes)

    def maps(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t d i j"]:
        """The backbone's last map of each frame."""
        return last_map(self.encoder, clips.flatten(0, 1)).unflatten(0, clips.shape[:2])

    def forward(self, clips: Float[Tensor, "b t c h w"]) -> Any:
        if self.retrieves and not hasattr(self.head, "embed"):
            raise Impossible(
                f"{type(self.head).__name__} makes no vector of a clip, which retrieval compares"
            )
        return self.head(self.maps(clips))

    def embed(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        """The clips' vectors, which retrieval compares."""
        return self.head.embed(self.maps(clips))  # type: ignore[operator]
