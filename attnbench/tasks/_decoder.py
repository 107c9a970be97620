"""Networks that read several labels off one image, step by step or all at once."""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from attnbench import backbones
from attnbench.backbones._trunk import channels_of, last_map, trunk
from attnbench.config.schema import Backbone

WIDTH = 128  # of the control's state


class MeanDecoder(nn.Module):
    """The control: an LSTM that sees the mean of the map, and the symbol before, at every step.

    In training the symbol before is the right one, at evaluation its own.
    """

    def __init__(self, channels: int, classes: int, steps: int, width: int = WIDTH) -> None:
        super().__init__()
        self.classes, self.steps, self.width = classes, steps, width
        self.symbol = nn.Embedding(classes + 1, width)  # the last one starts a sequence
        self.initial = nn.Linear(channels, 2 * width)
        self.cell = nn.LSTMCell(width + channels, width)
        self.classify = nn.Linear(width, classes)

    def forward(
        self, maps: Float[Tensor, "b c h w"], targets: Int[Tensor, "b steps"] | None = None
    ) -> Float[Tensor, "b steps classes"]:
        """Scores at every step; `targets` teach in training."""
        mean = maps.mean((2, 3))
        h, c = torch.tanh(self.initial(mean)).chunk(2, 1)
        before = torch.full((len(mean),), self.classes, device=mean.device)
        scores = []
        for step in range(self.steps):
            h, c = self.cell(torch.cat([self.symbol(before).to(mean.dtype), mean], 1), (h, c))
            scores.append(self.classify(h))
            before = scores[-1].argmax(1) if targets is None else targets[:, step].clamp(min=0)
        return torch.stack(scores, 1)


class Reader(nn.Module):
    """`encoder`, a backbone, then `decoder` on its last map."""

    def __init__(self, backbone: Backbone, image: tuple[int, int, int], classes: int, steps: int) -> None:
        super().__init__()
        self.encoder = trunk(backbone, image)
        self.decoder: nn.Module = MeanDecoder(channels_of(self.encoder, image), classes, steps)

    def forward(
        self, images: Float[Tensor, "b c h w"], targets: Int[Tensor, "b steps"] | None = None
    ) -> Float[Tensor, "b steps classes"]:
        maps = last_map(self.encoder, images)
        return self.decoder(maps) if targets is None else self.decoder(maps, targets)


class Whole(nn.Module):
    """`encoder`, a whole network that names the labels itself."""

    def __init__(self, backbone: Backbone, image: tuple[int, int, int], classes: int, steps: int) -> None:
        super().__init__()
        stepped = replace(backbone, args={**backbone.args, "steps": steps})
        self.encoder = backbones.build(stepped, classes, image)

    def forward(
        self, images: Float[Tensor, "b c h w"], targets: Int[Tensor, "b steps"] | None = None
    ) -> Float[Tensor, "b steps classes"]:
        return self.encoder(images, targets)
