"""TAM: a temporal convolution whose kernel and whose input's weights each clip decides for each channel."""

from typing import Any, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import Impossible
from attnbench.mechanisms.base import Card, Mechanism, Place
from attnbench.mechanisms.layers.clip_head import demand_frames, frames_of


class TAM(Mechanism):
    """y_t = Σ_k Θ_k L_{t+k} x_{t+k}, zeros outside the clip; g holds the products Θ_k L_{t+k}.

    From the frames' means q (b c t): Θ = softmax over the taps of W2 relu(BN(W1 q)), a channel's kernel for
    the whole clip, the weights over time common to all channels; L = sigmoid of two convolutions in time
    with BN and ReLU between them, one weight a channel and frame. The number of frames is part of the
    weights' shapes: a clip of another length is refused. Source: liu-zhy/temporal-adaptive-module.
    """

    card = Card(
        title="TAM: Temporal Adaptive Module for Video Recognition",
        venue="ICCV 2021",
        url="https://arxiv.org/abs/2005.06803",
        tasks=("Action",),
        g="local: global spatial average pooling -> 1-D convolutions -> sigmoid; "
        "global: global spatial average pooling -> MLP -> softmax -> adaptive convolution",
        range=(0.0, 1.0),
        soft=True,
        goals=("capture long-term temporal dependency", "capture local temporal context"),
        params=lambda c: 208 + (lambda k: 4 * c * k + 2 * k)(max(c // 4, 1)),
        site="temporal",
    )
    reads = "clip"

    def __init__(
        self, channels: int, frames: int, kernel: int = 3, expand: int = 2, reduction: int = 4
    ) -> None:
        super().__init__()
        if frames < kernel:
            raise Impossible(f"a kernel of {kernel} frames on a clip of {frames}")
        self.frames, self.kernel = frames, kernel
        hidden, narrow = expand * frames, max(channels // reduction, 1)
        self.kernels = nn.Sequential(
            nn.Linear(frames, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, kernel, bias=False),
        )
        self.weights = nn.Sequential(
            nn.Conv1d(channels, narrow, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm1d(narrow),
            nn.ReLU(),
            nn.Conv1d(narrow, channels, 1, bias=False),
        )

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        return cls(place.channels, frames_of(place), **options)

    def g(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t c k"]:
        """What frame t + k - k // 2 counts for in frame t."""
        demand_frames("tam", x, self.frames)
        means = x.mean((3, 4)).transpose(1, 2)
        kernels = self.kernels(means.flatten(0, 1)).softmax(1).view(*means.shape[:2], 1, self.kernel)
        weights = torch.sigmoid(self.weights(means))
        around = self.kernel // 2
        near = F.pad(weights, (around, self.kernel - 1 - around)).unfold(2, self.kernel, 1)
        return (kernels.to(near.dtype) * near).transpose(1, 2)

    def f(self, g: Float[Tensor, "b t c k"], x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t c h w"]:
        """The frames near t, each times its weights."""
        around, weights = self.kernel // 2, g.to(x.dtype)[..., None, None]
        near = F.pad(x, (0, 0, 0, 0, 0, 0, around, self.kernel - 1 - around))
        terms = [weights[:, :, :, k] * near[:, k : k + x.shape[1]] for k in range(self.kernel)]
        return sum(terms[1:], terms[0])
