"""RSTAN: an LSTM that looks, at each step, where in each frame and then in which frames."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card
from attnbench.mechanisms.layers.clip_head import ClipHead
from attnbench.mechanisms.layers.precision import full_precision

ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu}


class RSTAN(ClipHead):
    """The mean over steps of the scores of h_s = LSTM(Σ_n β_n Σ_k α_nk x_nk, h_{s-1}), h_0 = 0.

    α = softmax over a frame's positions k of γ w act(W h + V x_nk + b); β = softmax over the frames n of
    γ' w' act(W' h + V' l_n + b'), l_n = Σ_k α_nk x_nk. Each step attends to all frames; g holds β_n α_nk of
    each step. No code was released, and the equations are known at second hand: widths, γ = 1 (`sharp`),
    the activation (the survey's letter says ReLU, its model Show-Attend-Tell has tanh) and as many `steps`
    as frames (None) are our reading. The paper's two streams and its actor term, which needs boxes, are
    left out. Frames are a set to it: their order is lost on it.
    """

    card = Card(
        title="Recurrent Spatial-Temporal Attention Network for Action Recognition in Videos",
        venue="TIP 2018",
        url="https://doi.org/10.1109/TIP.2017.2778563",
        tasks=("Action",),
        g="spatial and temporal: fuse hidden state -> MLP -> softmax",
        range=(0.0, 1.0),
        soft=True,
        goals=("emphasise important regions and frames", "adapt to what was seen before"),
        params=lambda c: 2 * (256 * 512 + 256 * c + 2 * 256) + 4 * 512 * (c + 512 + 2) + 513 * 10,
        site="head",
    )

    def __init__(
        self,
        channels: int,
        classes: int,
        hidden: int = 512,
        width: int = 256,
        act: Literal["tanh", "relu"] = "tanh",
        steps: int | None = None,
        sharp: float = 1.0,
    ) -> None:
        super().__init__()
        self.steps = steps
        self.where = Score(channels, hidden, width, act, sharp)
        self.when = Score(channels, hidden, width, act, sharp)
        self.cell = nn.LSTMCell(channels, hidden)
        self.classify = nn.Linear(hidden, classes)

    def run(self, x: Float[Tensor, "b t c h w"]) -> tuple[Float[Tensor, "b s t n"], Float[Tensor, "b s d"]]:
        """The weights and the hidden states of all steps."""
        rows = x.flatten(3).transpose(2, 3)
        keys = self.where.item(rows)
        h = c = x.new_zeros(x.shape[0], self.cell.hidden_size)
        weights, states = [], []
        for _ in range(self.steps or x.shape[1]):
            alpha = self.where(keys, h).to(rows.dtype)
            frames = (alpha[:, :, None] @ rows)[:, :, 0]
            beta = self.when(self.when.item(frames), h).to(rows.dtype)
            h, c = self.cell((beta[:, None] @ frames)[:, 0], (h, c))
            weights.append(beta[:, :, None] * alpha)
            states.append(h)
        return torch.stack(weights, 1), torch.stack(states, 1)

    def g(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b s t n"]:
        return self.run(x)[0]

    def read(self, g: Float[Tensor, "b s t n"], x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        """The hidden states' mean: a linear classifier's mean score is the score of the mean."""
        seen = g.flatten(2) @ x.flatten(3).transpose(2, 3).flatten(1, 2)
        h = c = x.new_zeros(x.shape[0], self.cell.hidden_size)
        states = []
        for step in seen.unbind(1):
            h, c = self.cell(step, (h, c))
            states.append(h)
        return torch.stack(states, 1).mean(1)

    def embed(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        return self.run(x)[1].mean(1)


class Score(nn.Module):
    """softmax(γ w act(W h + b + V x)) over the last axis of items (b … n c)."""

    def __init__(self, features: int, state: int, width: int, act: str, sharp: float) -> None:
        super().__init__()
        self.item = nn.Linear(features, width, bias=False)
        self.state = nn.Linear(state, width)
        self.score = nn.Linear(width, 1, bias=False)
        self.act, self.sharp = act, sharp

    def forward(self, items: Float[Tensor, "b *n w"], h: Float[Tensor, "b d"]) -> Float[Tensor, "b *n"]:
        """`items` already multiplied by V, which no step changes."""
        state = self.state(h).unflatten(0, (h.shape[0], *(1,) * (items.dim() - 2)))
        return sharp_softmax(self.score(ACTIVATIONS[self.act](items + state))[..., 0], sharp=self.sharp)


@full_precision
def sharp_softmax(scores: Float[Tensor, "b *n"], sharp: float) -> Float[Tensor, "b *n"]:
    """softmax(γ scores) over the last axis."""
    return (sharp * scores).softmax(-1)
