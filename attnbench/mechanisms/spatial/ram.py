"""RAM: a recurrent network that looks at an image through a small window and decides where to look next."""

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
from attnbench.mechanisms.layers.reinforce import fixed_draws, hits, log_density, mean_log_softmax, reinforce

LOCATORS = ("hidden", "linear")
WIDTH = 256


class RAM(Mechanism):
    """Scores W h_T of h_t = relu(U s_t + V h_{t-1}), s_t = relu(what(glimpse at l_t) + where(l_t)).

    The glimpse has `scales` crops, each `factor` times as large as the one before. In training
    l_{t+1} ~ N(tanh(W' relu(W'' h_t)), std²), cut to the image only after its density is taken; l_1 is
    uniform. No gradient leaves the locator for h, nor a location for what comes after it. `loss` adds the
    squared error of a baseline of h_t, and `weight` times REINFORCE with the reward 1 for a right answer.
    The location after the last glimpse is not drawn.

    In evaluation one pass follows the means from the image's centre; `copies` > 1 average the
    probabilities of that many sampled paths, whose draws are fixed and the same for each image.
    No code was released. Defaults are those of a third party, whose locator has a layer more than the
    paper's (`locator="linear"`); three scales of twice the size are the paper's for cluttered images.
    Best known code: kevinzakka/recurrent-visual-attention.
    """

    card = Card(
        title="Recurrent Models of Visual Attention",
        venue="NeurIPS 2014",
        url="https://arxiv.org/abs/1406.6247",
        tasks=("Cls",),
        g="a recurrent network predicts important regions, one after the other",
        range=(0.0, 1.0),
        soft=False,
        goals=("focus on discriminative regions", "avoid excessive computation for large inputs"),
        params=lambda c: 8192 * c + 128 + 384 + 66_048 + 131_584 + 32_896 + 258 + 2570 + 257,
        site="network",
    )
    last_pass = ("episode",)
    returns = "logits"
    draws: Tensor
    starts: Tensor

    def __init__(
        self,
        channels: int,
        classes: int,
        glimpse: int = 8,
        scales: int = 1,
        factor: int = 2,
        steps: int = 6,
        std: float = 0.05,
        locator: Literal["hidden", "linear"] = "hidden",
        weight: float = 0.01,
        copies: int = 1,
    ) -> None:
        super().__init__()
        if steps < 2 or copies < 1 or std <= 0:
            raise UserError(f"ram: steps={steps}, copies={copies}, std={std}; at least 2, 1, and above 0")
        self.steps, self.std, self.weight, self.copies = steps, std, weight, copies
        self.retina = Retina(glimpse, scales, factor)
        half = WIDTH // 2
        self.what = nn.Sequential(
            nn.Linear(scales * glimpse**2 * channels, half), nn.ReLU(), nn.Linear(half, WIDTH)
        )
        self.where = nn.Sequential(nn.Linear(2, half), nn.ReLU(), nn.Linear(half, WIDTH))
        self.input, self.recur = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        hidden = [nn.Linear(WIDTH, half), nn.ReLU()] if locator == "hidden" else []
        self.locate = nn.Sequential(*hidden, nn.Linear(half if hidden else WIDTH, 2), nn.Tanh())
        self.classify = nn.Linear(WIDTH, classes)
        self.baseline = nn.Linear(WIDTH, 1)
        self.register_buffer("draws", fixed_draws(copies, steps - 1, 2), persistent=False)
        self.register_buffer("starts", 2 * fixed_draws(copies, 2, uniform=True) - 1, persistent=False)
        self.episode: Episode | None = None

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        return cls(place.channels, classes_of(place), **options)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        if self.training:
            self.episode = self.look(x, 2 * self.drawn(x, torch.rand) - 1, None)
            return self.episode.logits[:, 0]
        start, noise = self.starts.to(self.kind(x)), self.draws.to(self.kind(x))
        if self.copies == 1:
            start, noise = torch.zeros_like(start), torch.zeros_like(noise)
        return mean_log_softmax(self.look(x, start.expand(x.shape[0], -1, -1), noise).logits)

    def look(
        self, x: Float[Tensor, "b c h w"], at: Float[Tensor, "b m 2"], noise: Float[Tensor, "m t 2"] | None
    ) -> "Episode":
        """m paths from the points `at`, their draws given, or new for each image."""
        h = x.new_zeros(at.shape[0] * at.shape[1], WIDTH)
        densities, baselines = [], []
        for step in range(self.steps):
            h = self.update(self.retina(x, at), at.flatten(0, 1), h)
            if step == self.steps - 1:
                break
            mean = self.locate(h.detach()).to(at.dtype)
            draw = self.drawn(x, torch.randn) if noise is None else noise[:, step].expand(*at.shape)
            action = mean.detach() + self.std * draw.flatten(0, 1)
            densities.append(log_density(action, mean, self.std))
            baselines.append(self.baseline(h.detach())[:, 0])
            at = action.clamp(-1, 1).view(at.shape)
        logits = self.classify(h).unflatten(0, at.shape[:2])
        return Episode(logits, torch.stack(densities, 1), torch.stack(baselines, 1))

    def update(
        self, glimpse: Tensor, at: Float[Tensor, "n 2"], h: Float[Tensor, "n d"]
    ) -> Float[Tensor, "n d"]:
        seen = (self.what(glimpse.flatten(1)) + self.where(matched(at, self.where))).relu()
        return (self.input(seen) + self.recur(h)).relu()

    def drawn(self, x: Tensor, draw: Any) -> Float[Tensor, "b 1 2"]:
        return draw(x.shape[0], 1, 2, device=x.device, dtype=self.kind(x))

    def kind(self, x: Tensor) -> torch.dtype:
        """Of locations: float32 at least."""
        return torch.promote_types(x.dtype, torch.float32)

    def loss(self, targets: Tensor) -> Tensor | None:
        if self.episode is None:
            return None
        logits, densities, baselines = self.episode
        reward = hits(logits[:, 0], targets).to(densities)[:, None].expand_as(densities)
        baselines = baselines.to(densities.dtype)
        return F.mse_loss(baselines, reward) + self.weight * reinforce(densities, reward, baselines)

    def pixels_seen(self) -> int:
        return self.copies * self.steps * self.retina.pixels


class Episode(NamedTuple):
    """Paths of m copies of each of b images."""

    logits: Float[Tensor, "b m k"]
    densities: Float[Tensor, "bm t"]  # logarithms
    baselines: Float[Tensor, "bm t"]
