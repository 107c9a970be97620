"""SCA-CNN: weigh channels, then positions, each by additive attention that a decoder's state can steer."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import UserError
from attnbench.mechanisms.base import Card, Mechanism, Place
from attnbench.mechanisms.layers.clip_head import classes_of
from attnbench.mechanisms.layers.precision import full_precision
from attnbench.mechanisms.layers.recurrent_decoder import Decoder, state_of, steps_of

GUARD = 1e-8
WORD = 100  # numbers that a label is to a decoder, as released


class SCACNN(Mechanism):
    """y = c n α β x: β = softmax over c channels, α = softmax over n positions of β's map.

    A channel's score is u tanh(w v + W h + b) with v its mean, w shared by all channels; a position's is u'
    tanh(W' (c β x) + W'' h + b'). h (b, state) is a decoder's hidden state: instead of a decoder (task
    sequence) the module has one of its own, an LSTM that reads the mean of y, normalized to length 1, before
    each label, as wide as the control's where `state` is None. Elsewhere h is the second argument of
    `forward`, or a first guess from the mean features, tanh(V GAP(x) + d), or nothing where `state=0`: the
    layers on h are then left out. The released code has 512 hidden units and a state of 1000; None takes c //
    4 for each, which is 512 at 2048 channels. The factor c n is the code's, not the paper's. Its second level
    misplaces a bracket, which turns the bias b' into a part of u'; here it is a bias. Weights start from N(0,
    0.01²).
    Source: zjuchenlong/sca-cnn.cvpr17.
    """

    card = Card(
        title="SCA-CNN: Spatial and Channel-Wise Attention in Convolutional Networks for Image Captioning",
        venue="CVPR 2017",
        url="https://arxiv.org/abs/1611.05594",
        tasks=("Captioning",),
        g="global average pooling -> additive attention over channels, then over positions -> softmax",
        range=None,
        soft=True,
        goals=("emphasise important channels", "emphasise important positions"),
        params=lambda c: (lambda k: 2 * k * (c + k + 3) + 2)(max(c // 4, 1)),
        site=("decoder", "last_block"),
    )

    def __init__(self, channels: int, hidden: int | None = None, state: int | None = None) -> None:
        super().__init__()
        hidden = max(channels // 4, 1) if hidden is None else hidden
        self.state = max(channels // 4, 1) if state is None else state
        self.guess = nn.Linear(channels, self.state) if self.state else None
        self.channel = Score(1, hidden, self.state)
        self.position = Score(channels, hidden, self.state)

    @classmethod
    def at(cls, place: Place, **options: Any) -> "SCACNN":
        steps = steps_of(place)
        if steps is None:
            return cls(place.channels, **options)
        options["state"] = options.get("state") or state_of(place)
        return Decoding(place.channels, classes_of(place), steps, **options)

    def initial(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b s"] | None:
        """The state that the mean features suggest, where there is one."""
        return None if self.guess is None else torch.tanh(self.guess(x.mean((2, 3))))

    def g(self, x: Float[Tensor, "b c h w"], state: Tensor | None = None) -> Float[Tensor, "b c h w"]:
        """c n α β; its mean over channels and positions is 1."""
        beta, _, alpha = self.levels(x, state)
        return (alpha * beta).view(x.shape)

    def levels(
        self, x: Float[Tensor, "b c h w"], state: Tensor | None
    ) -> tuple[Float[Tensor, "b c 1"], Float[Tensor, "b c n"], Float[Tensor, "b 1 n"]]:
        """c β, what it makes of x, and n α."""
        c, n = x.shape[1], x.shape[2] * x.shape[3]
        state = self.initial(x) if state is None else state
        beta = c * self.channel(x.mean((2, 3))[:, :, None], state).softmax(1)[:, :, None].to(x.dtype)
        weighed = x.flatten(2) * beta
        scores = self.position(weighed.transpose(1, 2), state)
        return beta, weighed, n * scores.softmax(1)[:, None].to(x.dtype)

    def looked(self, x: Float[Tensor, "b c h w"], state: Tensor | None) -> Float[Tensor, "b c h w"]:
        """f(g(x), x), without the product of both maps."""
        _, weighed, alpha = self.levels(x, state)
        return (weighed * alpha).view(x.shape)

    def forward(
        self, x: Float[Tensor, "b c h w"], state: Float[Tensor, "b s"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """`state`: a decoder's hidden state; None: the first guess."""
        if state is not None and state.shape[1] != self.state:
            raise UserError(f"sca_cnn: a state of {state.shape[1]} numbers came, built for {self.state}")
        return self.looked(x, state)


class Decoding(SCACNN):
    """A decoder for which its own state steers the map's channels and positions before each label."""

    returns = "logits"

    def __init__(
        self, channels: int, classes: int, steps: int, state: int, hidden: int | None = None
    ) -> None:
        super().__init__(channels, hidden, state)
        self.guess = None
        self.decoder = Decoder(channels, classes, steps, state, word=WORD, passes=1)

    def forward(self, x: Float[Tensor, "b c h w"], targets: Tensor | None = None) -> Float[Tensor, "b s k"]:
        """Scores of each step; `targets` teach in training."""

        def look(step: int, h: Tensor) -> Tensor:
            return unit(self.looked(x, h).mean((2, 3)))

        return self.decoder(unit(x.mean((2, 3))), look, targets)


def unit(v: Float[Tensor, "b c"]) -> Float[Tensor, "b c"]:
    """v at length 1."""
    return (v / (length(v) + GUARD)).to(v.dtype)


@full_precision
def length(v: Float[Tensor, "b c"]) -> Float[Tensor, "b 1"]:
    """Of each row."""
    return v.norm(dim=1, keepdim=True)


class Score(nn.Module):
    """u tanh(W z + W' h + b) + d: one score (b, n) for each of n items with their features (b, n, f)."""

    def __init__(self, features: int, hidden: int, state: int) -> None:
        super().__init__()
        self.item = nn.Linear(features, hidden)
        self.state = nn.Linear(state, hidden, bias=False) if state else None
        self.score = nn.Linear(hidden, 1)
        for layer in (self.item, self.state, self.score):
            if layer is not None:
                nn.init.normal_(layer.weight, std=0.01)

    def forward(self, items: Float[Tensor, "b n f"], state: Tensor | None) -> Float[Tensor, "b n"]:
        z = self.item(items)
        if self.state is not None:
            z = z + self.state(state)[:, None]
        return self.score(torch.tanh(z))[..., 0].to(self.score.weight.dtype)
