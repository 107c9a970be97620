"""STA-LSTM: two small LSTMs say which joints and which frames of a skeleton's motion a third one reads."""

from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import UserError
from attnbench.mechanisms.base import Card, Mechanism, Place
from attnbench.mechanisms.layers.clip_head import classes_of

FORMS = ("paper", "scaled")


class STALSTM(Mechanism):
    """Σ_t β_t V h_t, h = a stack of LSTMs on α_tk x_tk.

    α_t = softmax over joints k of U tanh(W x_t + W' s_{t-1} + b) + b', β_t = relu(w x_t + w' r_{t-1} + d);
    s and r are LSTMs on x that run beside, so that no gate waits for the main one. Training adds
    `spread` Σ_k (1 - mean_t a_tk)² + `frames` mean_t |β_t| + `sparse` ‖W‖₁ (all weights, no biases).
    a is α in `form="paper"`, whose first term then cannot vanish: a softmax over joints has no mean of 1.
    `scaled` multiplies α by the number of joints, in the input too, as third parties do.

    No code was released. The three layers and 100 units are recalled, not read; so is the paper's
    pre-training of each gate with the other fixed at 1, which is left out: instead w and w' start at 0 and
    d at 1, so that at first all frames count 1, and with `scaled` all joints about 1. The paper's form
    without pre-training hands the main layers next to nothing. The factors are those of a third party's
    code, but `sparse`: there 5e-4, which drowns the cross-entropy of so few clips, here off.
    """

    card = Card(
        title="An End-to-End Spatio-Temporal Attention Model for Human Action Recognition from Skeleton Data",
        venue="AAAI 2017",
        url="https://arxiv.org/abs/1611.06067",
        tasks=("Action",),
        g="spatial: fuse hidden state -> MLP -> softmax; temporal: fuse hidden state -> MLP -> ReLU",
        range=None,
        soft=True,
        goals=("emphasise important joints and frames",),
        params=lambda c: (lambda n, k: 1200 * (n + 102) + 161_600 + 101 * n + 101 * k + 11_211)(
            c // 3 * 3, c // 3
        ),
        site="network",
    )
    last_pass = ("gates",)
    reads = "skeleton"
    returns = "logits"

    def __init__(
        self,
        channels: int,
        classes: int,
        joints: int,
        hidden: int = 100,
        layers: int = 3,
        form: Literal["paper", "scaled"] = "scaled",
        spread: float = 1e-3,
        frames: float = 1e-4,
        sparse: float = 0.0,
    ) -> None:
        super().__init__()
        self.scale = joints if form == "scaled" else 1
        self.factors = spread, frames, sparse
        self.spatial = nn.LSTM(channels, hidden, batch_first=True)
        self.item = nn.Linear(channels, hidden, bias=False)
        self.state = nn.Linear(hidden, hidden)
        self.score = nn.Linear(hidden, joints)
        self.temporal = nn.LSTM(channels, hidden, batch_first=True)
        self.frame = nn.Linear(channels + hidden, 1)
        self.main = nn.LSTM(channels, hidden, layers, batch_first=True)
        self.classify = nn.Linear(hidden, classes)
        nn.init.zeros_(self.frame.weight)
        nn.init.ones_(self.frame.bias)
        self.gates: Tensor | None = None

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        joints, coordinates = place.size
        return cls(joints * coordinates, classes_of(place), joints, **options)

    def g(self, x: Float[Tensor, "b t k 3"]) -> Float[Tensor, "b t k1"]:
        """α, times the number of joints where the form says so, and as the last column β."""
        x = self.rows(x)
        state = before(self.spatial(x)[0])
        scores = self.score(torch.tanh(self.item(x) + self.state(state)))
        frame = self.frame(torch.cat([x, before(self.temporal(x)[0])], 2)).relu()
        alpha = self.scale * scores.softmax(2)
        return torch.cat([alpha, frame.to(alpha.dtype)], 2)

    def f(self, g: Float[Tensor, "b t k1"], x: Float[Tensor, "b t k 3"]) -> Float[Tensor, "b classes"]:
        self.gates = g if self.training else None
        states = self.main((g[..., :-1, None] * x).flatten(2))[0]
        return (g[..., -1:].to(states.dtype) * self.classify(states)).sum(1)

    def rows(self, x: Float[Tensor, "b t k 3"]) -> Float[Tensor, "b t n"]:
        if x.dim() != 4 or x.shape[2] * x.shape[3] != self.spatial.input_size:
            raise UserError(
                f"sta_lstm: {tuple(x.shape)} came, but it reads skeletons (b, t, joints, coordinates) of "
                f"{self.spatial.input_size} numbers a frame"
            )
        return x.flatten(2)

    def loss(self, targets: Tensor) -> Tensor | None:
        if self.gates is None:
            return None
        spread, frames, sparse = self.factors
        alpha, beta = self.gates[..., :-1], self.gates[..., -1]
        total = spread * (1 - alpha.mean(1)).square().sum(1).mean() + frames * beta.abs().mean()
        if sparse:
            total = total + sparse * sum(p.abs().sum() for p in self.parameters() if p.dim() > 1)
        return total


def before(states: Float[Tensor, "b t h"]) -> Float[Tensor, "b t h"]:
    """The state with which each step begins, the first being zero."""
    return F.pad(states[:, :-1], (0, 0, 1, 0))
