"""What soft and hard attention share: additive scores from a decoder's state, and the decoder."""

from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Mechanism, Place
from attnbench.mechanisms.layers.clip_head import classes_of
from attnbench.mechanisms.layers.precision import full_precision
from attnbench.mechanisms.layers.recurrent_decoder import Decoder, state_of, steps_of
from attnbench.mechanisms.layers.reinforce import IGNORED


class CaptionDecoder(Mechanism):
    """Scores of a decoder whose state decides, at each step, where it looks.

    A subclass says in `see` what comes of the weights (n l) over positions (n l c).
    """

    returns = "logits"
    last_pass: ClassVar[tuple[str, ...]] = ("weights",)

    def __init__(
        self,
        channels: int,
        classes: int,
        steps: int | None,
        state: int | None,
        word: int,
        width: int | None,
        form: str,
        layers: int,
        selector: bool,
        passes: int,
        dropout: float,
    ) -> None:
        super().__init__()
        state = state or channels
        self.decoder = Decoder(channels, classes, steps, state, word, passes, form, dropout)
        self.attention = Additive(channels, state, width or channels, form, layers)
        gates = {"tutorial": channels}.get(form, 1 if selector else 0)
        self.selector = nn.Linear(state, gates) if gates else None
        self.weights: Tensor | None = None

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        options["state"] = options.get("state") or state_of(place)
        steps = steps_of(place)
        module = cls(place.channels, classes_of(place), steps, **options)
        module.reads = "clip" if steps is None and place.frames is not None else "map"
        return module

    def see(
        self, step: int, weights: Float[Tensor, "n l"], rows: Float[Tensor, "n l c"]
    ) -> Float[Tensor, "n c"]:
        raise NotImplementedError(f"{type(self).__name__} does not see")

    def forward(self, x: Tensor, targets: Tensor | None = None) -> Float[Tensor, "b *s k"]:
        """Of maps (b c h w), or of all positions of all frames of clips (b t c h w)."""
        copies = 1 if self.training else self.paths
        rows = positions(x)
        keys = self.attention.keys(rows).repeat_interleave(copies, 0)
        all_rows = rows.repeat_interleave(copies, 0)
        kept = []

        def look(step: int, h: Tensor) -> Tensor:
            weights = self.attention(keys, h)
            kept.append(weights)
            seen = self.see(step, weights, all_rows)
            return seen if self.selector is None else torch.sigmoid(self.selector(h)) * seen

        scores = self.decoder(rows.mean(1), look, targets, copies)
        self.weights = torch.stack(kept, 1) if self.training else None
        return scores

    @property
    def paths(self) -> int:
        """How often evaluation goes through an image."""
        return 1


class Additive(nn.Module):
    """softmax over positions of u act(W a + b + W' h) + c.

    `official` has tanh, no bias in W', and `layers` - 1 more of tanh(W'' · + b'') on W a + b, which no
    step changes; `tutorial` has ReLU and a bias in W'.
    """

    def __init__(self, features: int, state: int, width: int, form: str, layers: int = 1) -> None:
        super().__init__()
        self.item = nn.Linear(features, width)
        self.deeper = nn.ModuleList(nn.Linear(width, width) for _ in range(layers - 1))
        self.state = nn.Linear(state, width, bias=form == "tutorial")
        self.score = nn.Linear(width, 1)
        self.act = torch.relu if form == "tutorial" else torch.tanh

    def keys(self, rows: Float[Tensor, "n l c"]) -> Float[Tensor, "n l a"]:
        """The part of the scores that no state changes."""
        keys = self.item(rows)
        for layer in self.deeper:
            keys = torch.tanh(layer(keys))
        return keys

    def forward(self, keys: Float[Tensor, "n l a"], h: Float[Tensor, "n s"]) -> Float[Tensor, "n l"]:
        return softmax(self.score(self.act(keys + self.state(h)[:, None]))[..., 0])


@full_precision
def softmax(scores: Float[Tensor, "n l"]) -> Float[Tensor, "n l"]:
    """Over the positions."""
    return scores.softmax(1)


def positions(x: Tensor) -> Float[Tensor, "b l c"]:
    """Those of a map (b c h w), or of all frames of a clip (b t c h w), as rows."""
    rows = x.flatten(-2).transpose(-2, -1)
    return rows.flatten(1, 2) if x.dim() == 5 else rows


def counts(weights: Float[Tensor, "b t l"], targets: Tensor) -> Float[Tensor, "b t"]:
    """1 for steps that have a target, 0 for those after a sequence's end."""
    if targets.dim() == 1 or targets.is_floating_point():
        return torch.ones_like(weights[..., 0])
    return (targets != IGNORED).to(weights)


def uneven(weights: Float[Tensor, "b t l"], targets: Tensor) -> Float[Tensor, ""]:
    """The mean over images and positions of (1 - Σ_t α_t)², t up to the end of each sequence."""
    return (1 - (weights * counts(weights, targets)[..., None]).sum(1)).square().mean()
