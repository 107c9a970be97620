"""DRAM: glimpses read by one LSTM, which names what it sees, and led by another, which knows the image."""

from typing import Any, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import UserError
from attnbench.mechanisms.base import Card, Mechanism, Place
from attnbench.mechanisms.layers.clip_head import classes_of
from attnbench.mechanisms.layers.glimpse import Retina
from attnbench.mechanisms.layers.precision import matched
from attnbench.mechanisms.layers.recurrent_decoder import steps_of
from attnbench.mechanisms.layers.reinforce import IGNORED, earned, hits, log_density, reinforce

RETURNS = ("total", "to_come")
LEAST = 9  # px of a glimpse that three convolutions without padding leave something of


class DRAM(Mechanism):
    """Scores O(r_n): r_n = LSTM1(what(glimpse at l_n) * where(l_n), r_{n-1}), s_n = LSTM2(r_n, s_{n-1}).

    l_{n+1} ~ N(tanh(E s_n), std²) in training, its mean in evaluation. `glimpses` are taken for each label
    of a sequence, named after the last of them; one label where the place asks for one. r starts from
    zeros and s from convolutions of the whole image, averaged down to a glimpse's size, so that the
    classifier cannot read them: all that it knows came through glimpses. These have two scales, the
    coarse one twice as wide. What and where are multiplied, not added.

    `loss` adds the squared error of a linear baseline of s and `weight` times REINFORCE, whose gradient
    also trains LSTM2 and the convolutions of the whole image. An episode's reward is the number of labels
    right before the first error, or, with `returns="to_come"`, for each glimpse those not named before it.
    Sites without sequences get scores (b, classes), others (b, steps, classes).

    No code was released. Recalled, not read: that E ends in tanh, ReLU behind both factors, `width`, no
    cell state from the whole image. About 9 million parameters; the paper's model for house numbers has 14.
    """

    card = Card(
        title="Multiple Object Recognition with Visual Attention",
        venue="ICLR 2015",
        url="https://arxiv.org/abs/1412.7755",
        tasks=("Cls",),
        g="a deep recurrent network predicts important regions, one after the other",
        range=(0.0, 1.0),
        soft=False,
        goals=("focus on discriminative regions", "avoid excessive computation for large inputs"),
        params=lambda c: 4800 * c + 8_892_429,
        site="network",
    )
    last_pass = ("episode",)
    returns = "logits"

    def __init__(
        self,
        channels: int,
        classes: int,
        steps: int | None,
        glimpse: int = 12,
        glimpses: int = 3,
        width: int = 1024,
        hidden: int = 512,
        std: float = 0.1,
        returns: Literal["total", "to_come"] = "total",
        weight: float = 0.1,
    ) -> None:
        super().__init__()
        if glimpse < LEAST or glimpses < 1 or std <= 0:
            raise UserError(
                f"dram: glimpse={glimpse}, glimpses={glimpses}, std={std}; at least {LEAST}, 1, and above 0"
            )
        self.steps, self.glimpse, self.glimpses = steps, glimpse, glimpses
        self.std, self.total, self.weight = std, returns == "total", weight
        self.pixels = 0  # of the whole image, where it is known
        self.retina = Retina(glimpse, scales=2)
        self.context = convolutions(channels, glimpse, hidden)
        self.emit = nn.Linear(hidden, 2)
        self.what = convolutions(2 * channels, glimpse, width)
        self.where = nn.Sequential(nn.Linear(2, width), nn.ReLU())
        self.reader = nn.LSTMCell(width, hidden)
        self.leader = nn.LSTMCell(hidden, hidden)
        self.classify = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, classes))
        self.baseline = nn.Linear(hidden, 1)
        self.episode: Episode | None = None

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        module = cls(place.channels, classes_of(place), steps_of(place), **options)
        module.pixels = place.size[0] * place.size[1]
        return module

    def forward(self, x: Float[Tensor, "b c h w"], targets: Tensor | None = None) -> Float[Tensor, "b *s k"]:
        """`targets` are not read: the next step does not depend on the true labels."""
        episode = self.look(x)
        self.episode = episode if self.training else None
        return episode.logits[:, 0] if self.steps is None else episode.logits

    def look(self, x: Float[Tensor, "b c h w"]) -> "Episode":
        """A path over the image: sampled in training, else that of the means."""
        h = self.context(F.adaptive_avg_pool2d(x, self.glimpse))
        kind = torch.promote_types(h.dtype, torch.float32)
        read, lead = None, (h, torch.zeros_like(h))
        logits, densities, baselines = [], [], []
        for count in range(1, self.glimpses * (self.steps or 1) + 1):
            mean = torch.tanh(self.emit(lead[0])).to(kind)
            action = mean.detach()
            if self.training:
                action = action + self.std * torch.randn_like(action)
            densities.append(log_density(action, mean, self.std))
            baselines.append(self.baseline(lead[0].detach())[:, 0])
            read = self.reader(self.see(x, action.clamp(-1, 1)), read)
            lead = self.leader(read[0], lead)
            if count % self.glimpses == 0:
                logits.append(self.classify(read[0]))
        return Episode(torch.stack(logits, 1), torch.stack(densities, 1), torch.stack(baselines, 1))

    def see(self, x: Float[Tensor, "b c h w"], at: Float[Tensor, "b 2"]) -> Float[Tensor, "b d"]:
        return self.what(self.retina(x, at[:, None])) * self.where(matched(at, self.where))

    def loss(self, targets: Tensor) -> Tensor | None:
        if self.episode is None:
            return None
        logits, densities, baselines = self.episode
        if self.steps is None:
            right, counts = hits(logits[:, 0], targets)[:, None], torch.ones_like(densities[:, :1])
        else:
            right, counts = hits(logits, targets), (targets != IGNORED).to(densities)
        rewards = earned(right.to(densities), counts, self.total)
        rewards, counts = (t.repeat_interleave(self.glimpses, 1) for t in (rewards, counts))
        error = (baselines.to(densities) - rewards).square().mul(counts).sum() / counts.sum()
        return error + self.weight * reinforce(densities * counts, rewards, baselines)

    def pixels_seen(self) -> int:
        return self.pixels + self.glimpses * (self.steps or 1) * self.retina.pixels


class Episode(NamedTuple):
    """What was named, and the path that led there."""

    logits: Float[Tensor, "b s k"]
    densities: Float[Tensor, "b t"]  # logarithms
    baselines: Float[Tensor, "b t"]


def convolutions(channels: int, size: int, width: int) -> nn.Sequential:
    """Three convolutions without padding or pooling, and a linear layer: (b c size size) -> (b width)."""
    return nn.Sequential(
        nn.Conv2d(channels, 64, 5),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3),
        nn.ReLU(),
        nn.Conv2d(64, 128, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128 * (size - LEAST + 1) ** 2, width),
        nn.ReLU(),
    )
