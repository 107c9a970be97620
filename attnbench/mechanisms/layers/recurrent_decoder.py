"""A recurrent decoder that looks at an image's features anew before it names each label."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import UserError, unknown
from attnbench.mechanisms.base import Control, Place, SequenceControl
from attnbench.mechanisms.layers.reinforce import mean_log_softmax

FORMS = ("official", "tutorial")
Look = Callable[[int, Tensor], Tensor]  # step, state (n s) -> what is seen (n d)


class Decoder(nn.Module):
    """h, c = LSTM([E y, z], h, c) with y the label before and z what is seen from h.

    Starts from the features' mean, tanh(V mean + b) for h and for c. `official` names labels by
    P tanh(E y + L h + M z), `tutorial` by P h and starts without the tanh. The first y is nothing. In
    training with targets y is the right label, else the decoder's own. Without `steps` there are no labels
    in between: `passes` looks, then P h.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        steps: int | None,
        state: int,
        word: int,
        passes: int,
        form: str = "official",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise unknown("form of a decoder", form, FORMS)
        if passes < 1:
            raise UserError(f"passes={passes}: a decoder looks at least once")
        word = word if steps else 0
        self.steps, self.passes, self.word, self.form = steps, passes, word, form
        self.hidden, self.memory = nn.Linear(features, state), nn.Linear(features, state)
        self.cell = nn.LSTMCell(word + features, state)
        self.symbol = nn.Embedding(classes, word) if steps else None
        self.mixes = bool(steps) and form == "official"
        if self.mixes:
            self.of_state, self.of_seen = nn.Linear(state, word), nn.Linear(features, word)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(word if self.mixes else state, classes)

    def forward(
        self, mean: Float[Tensor, "b d"], look: Look, targets: Tensor | None = None, copies: int = 1
    ) -> Float[Tensor, "b *s k"]:
        """Scores of each step, or of the whole; `look` sees `copies` rows of each image."""
        h, c = self.hidden(mean), self.memory(mean)
        if self.form == "official":
            h, c = torch.tanh(h), torch.tanh(c)
        h, c = (state.repeat_interleave(copies, 0) for state in (h, c))
        y = h.new_zeros(h.shape[0], self.word)
        scores = []
        for step in range(self.steps or self.passes):
            z = look(step, h)
            h, c = self.cell(torch.cat([y.to(z.dtype), z], 1), (h, c))
            if self.symbol is not None:
                named = self.name(y, h, z).unflatten(0, (-1, copies))
                scores.append(mean_log_softmax(named))
                labels = scores[-1].argmax(1) if targets is None else targets[:, step].clamp(min=0)
                y = self.symbol(labels.repeat_interleave(copies, 0))
        if self.symbol is not None:
            return torch.stack(scores, 1)
        return mean_log_softmax(self.classify(self.dropout(h)).unflatten(0, (-1, copies)))

    def name(self, y: Tensor, h: Tensor, z: Tensor) -> Float[Tensor, "n k"]:
        if self.mixes:
            h = torch.tanh(y + self.of_state(h) + self.of_seen(z))
        return self.classify(self.dropout(h))


def state_of(place: Place) -> int:
    """The width of the control's state, for decoders that are to have the same."""
    return place.replaces.width if isinstance(place.replaces, Control) else place.channels


def steps_of(place: Place) -> int | None:
    """Steps of the sequences that the control names; None where it names one label."""
    return place.replaces.steps if isinstance(place.replaces, SequenceControl) else None
