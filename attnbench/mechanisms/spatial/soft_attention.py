"""Soft attention: before each label, the mean of all positions, weighed by a decoder's state."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from attnbench.mechanisms.base import Card
from attnbench.mechanisms.layers.caption import CaptionDecoder, uneven


class SoftAttention(CaptionDecoder):
    """z_t = Σ_i α_ti a_i, α_t = softmax of u tanh(W a_i + b + W' h_{t-1}) + c, for an LSTM decoder.

    Instead of a decoder (task sequence) it names one label a step. Instead of the head of clips it is a
    recurrent head: `passes` steps from the mean feature, without words, over all positions of all frames,
    the class from the last state; so is it for maps where a control without steps stands. `state` None is
    as wide as the control's. `selector` multiplies z by sigmoid(w h + b), as the COCO model's does.
    Training adds `penalty` times the mean of (1 - Σ_t α_ti)²; the authors sum it over the batch, which
    ties its strength to the batch's size.

    `form="official"` is Show, Attend and Tell's code (bias on W a alone, scores mixed of state, label and
    z); `form="tutorial"` a well-known port: ReLU for tanh, a second bias, z gated channel by channel.
    The LSTM has PyTorch's two biases. Sources: kelvinxu/arctic-captions,
    sgrvinod/a-PyTorch-Tutorial-to-Image-Captioning.
    """

    card = Card(
        title="Show, Attend and Tell: Neural Image Caption Generation with Visual Attention",
        venue="ICML 2015",
        url="https://arxiv.org/abs/1502.03044",
        tasks=("ICap",),
        g="similarity of visual features and the previous hidden state -> softmax",
        range=(0.0, 1.0),
        soft=True,
        goals=("focus on discriminative regions",),
        params=lambda c: 12 * c * c + 612 * c + 2211,
        site=("decoder", "head"),
    )

    def __init__(
        self,
        channels: int,
        classes: int,
        steps: int | None,
        state: int | None = None,
        word: int = 100,
        width: int | None = None,
        form: Literal["official", "tutorial"] = "official",
        layers: int = 1,
        selector: bool = False,
        penalty: float = 1.0,
        passes: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            channels, classes, steps, state, word, width, form, layers, selector, passes, dropout
        )
        self.penalty = penalty

    def see(
        self, step: int, weights: Float[Tensor, "n l"], rows: Float[Tensor, "n l c"]
    ) -> Float[Tensor, "n c"]:
        return (weights.to(rows.dtype)[:, None] @ rows)[:, 0]

    def loss(self, targets: Tensor) -> Tensor | None:
        if self.weights is None or not self.penalty:
            return None
        return self.penalty * uneven(self.weights, targets)
