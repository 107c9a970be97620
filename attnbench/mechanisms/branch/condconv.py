"""CondConv: mix several kernels for each image, by sigmoids of its channels' means, and convolve once."""

from typing import Any, Literal, Self

from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import Impossible, UserError
from attnbench.mechanisms.base import Card, ForgetsLastPass, Place
from attnbench.mechanisms.layers.conv import Kernels, Replacement


class CondConv(Replacement):
    """y = conv(x, sum_k g_k W_k), g = sigmoid(W GAP(x) + b), (b, experts): no softmax, not normalised.

    `routing="layer"`: g comes from the convolution's own input. "block", as in the official
    EfficientNets: from the input of the block around it, one routing for all CondConvs of that block.
    It has a bias, zero at the start; the kernels have one if the replaced convolution has. Compare it
    at equal multiply-adds: its parameters are `experts` times as many.
    Source: tensorflow/tpu, models/official/efficientnet/condconv.
    """

    card = Card(
        title="CondConv: Conditionally Parameterized Convolutions for Efficient Inference",
        venue="NeurIPS 2019",
        url="https://arxiv.org/abs/1904.04971",
        tasks=("Cls", "Det"),
        g="global average pooling -> linear -> sigmoid",
        range=(0.0, 1.0),
        soft=True,
        goals=("dynamically fuse different convolution kernels",),
        params=lambda c: 4 * 9 * c * c + 4 * (c + 1),
        site="conv",
    )

    def __init__(
        self, channels: int, conv: nn.Conv2d, experts: int = 4, routing: Literal["layer", "block"] = "layer"
    ) -> None:
        super().__init__()
        self.by_block = routing == "block"
        self.routing = Routing(channels, experts)
        self.kernels = Kernels(conv, experts)
        fan_out = conv.kernel_size[0] * conv.kernel_size[1] * conv.out_channels // conv.groups
        for kernel in self.kernels.each():
            nn.init.normal_(kernel, std=(2 / fan_out) ** 0.5)

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        module = super().at(place, **options)
        if module.by_block:
            module.routing = of_block(place, len(module.kernels.weight))
        return module

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        return self.routing.latest() if self.by_block else self.routing(x)

    def f(self, g: Tensor, x: Tensor) -> Tensor:
        return self.kernels(x, g)


class Routing(ForgetsLastPass):
    """Shares of the experts for each image, (b, k), from a map (b, c, h, w)."""

    last_pass = ("shares",)

    def __init__(self, channels: int, experts: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, experts)
        self.shares: Tensor | None = None
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        return self.linear(x.mean((2, 3))).sigmoid()

    def watch(self, block: nn.Module, args: tuple[Any, ...]) -> None:
        """A hook that runs before the block does, on the block's input."""
        self.shares = self(args[0])

    def latest(self) -> Float[Tensor, "b k"]:
        if self.shares is None:
            raise UserError("condconv: routing=block was asked for before its block has run")
        return self.shares


def of_block(place: Place, experts: int) -> Routing:
    """The routing of the block that holds a place, made for the first of the block's CondConvs."""
    parent = place.name.rpartition(".")[0]
    block = None if place.model is None else place.model.get_submodule(parent)
    if not parent or block is None or isinstance(block, nn.Sequential):
        raise Impossible("routing=block needs a convolution that stands in a block with others")
    hooks = (getattr(hook, "__self__", None) for hook in block._forward_pre_hooks.values())
    for owner in hooks:
        if isinstance(owner, Routing):
            return owner
    first = next(m for m in block.modules() if isinstance(m, nn.Conv2d))
    routing = Routing(first.in_channels, experts)
    # Kept, and so pickled, with the block: elsewhere it keeps later hooks from taking this one's number.
    block._routing_handle = block.register_forward_pre_hook(routing.watch)  # type: ignore[assignment]
    return routing
