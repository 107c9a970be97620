"""DIANet: weigh each channel by an LSTM that a stage shares and that steps from block to block."""

from collections.abc import Hashable
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import UserError
from attnbench.mechanisms.base import Card, Mechanism, Place
from attnbench.mechanisms.layers.recompute import backward_pass


class DIA(Mechanism):
    """g = h', where (h', c') = LSTM(GAP(x), h, c): the gate of one block is the state for the next.

    The LSTM differs from the usual one in that each of its two maps is an MLP with c // reduction
    hidden units, and in that h' = o sigmoid(c') instead of o tanh(c'), so that the gate is in (0, 1).
    One module stands at all places of a stage; grafted, it starts each forward pass with h = c = 0 at
    the first of them (`start_pass`), while a module called on its own keeps no state at all. Gradient
    checkpointing of a block without those before it in its stage is refused: their state is gone. The
    authors use reduction 4 on CIFAR, as here, and 20 for ResNet-50 on ImageNet.
    Source: gbup-group/DIANet.
    """

    card = Card(
        title="DIANet: Dense-and-Implicit Attention Network",
        venue="AAAI 2020",
        url="https://arxiv.org/abs/1905.10671",
        tasks=("Cls",),
        g="global average pooling -> LSTM shared by the blocks of a stage -> sigmoid",
        range=(0.0, 1.0),
        soft=True,
        goals=("emphasise important channels", "capture global information"),
        params=lambda c: 2 * (5 * c * max(c // 4, 1) + max(c // 4, 1) + 4 * c),
        site="residual",
    )
    last_pass = ("state",)

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        self.channels = channels
        self.see = mlp(channels, reduction)
        self.recall = mlp(channels, reduction)
        self.grafted = False
        self.state: tuple[Tensor, Tensor] | None = None
        self.made_in = -1  # the backward pass within which the state was made, if any

    @classmethod
    def share(cls, place: Place, **options: Any) -> Hashable:
        return place.stage, place.channels

    def start_pass(self) -> None:
        self.grafted, self.state, self.made_in = True, None, backward_pass()

    def step(self, x: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b c"]]:
        """The state (h, c) after x."""
        if self.grafted and self.made_in != backward_pass():
            raise UserError(
                "dia: gradient checkpointing ran a block again without those before it, whose state it "
                "needs: checkpoint whole stages, or nothing"
            )
        zero = x.new_zeros(1, self.channels)
        hidden, cell = self.state or (zero, zero)
        gates = self.see(x.mean((2, 3))) + self.recall(hidden)
        into, keep, new, out = gates.chunk(4, 1)
        cell = keep.sigmoid() * cell + into.sigmoid() * new.tanh()
        return out.sigmoid() * cell.sigmoid(), cell

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 1 1"]:
        return self.step(x)[0][:, :, None, None]

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        state = self.step(x)
        if self.grafted:
            self.state = state
        return self.f(state[0][:, :, None, None], x)


def mlp(channels: int, reduction: int) -> nn.Sequential:
    """(b, c) to the LSTM's four gates (b, 4c)."""
    hidden = max(channels // reduction, 1)
    return nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, 4 * channels))
