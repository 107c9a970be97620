"""How a place hands its map to its mechanism, whatever the layout, and gets it back in the same one."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from attnbench.config.schema import Layout
from attnbench.errors import Impossible
from attnbench.mechanisms.base import Mechanism


@dataclass
class Image:
    """Height and width of the images of the pass that is running, as the network's first module sees them."""

    size: tuple[int, int]

    def see(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """A hook before the module that the image enters."""
        if args and isinstance(args[0], Tensor) and args[0].ndim == 4:
            self.size = (args[0].shape[2], args[0].shape[3])


@dataclass(frozen=True)
class Call:
    """What passes at one place: its layout, leading tokens and grid, and the frames of a clip."""

    layout: Layout
    prefix: int
    size: tuple[int, int]
    first: bool  # of the places that share the mechanism
    frames: int | None = None  # of the clips whose frames are the batch there
    image: Image | None = field(default=None, compare=False)  # of tokens: the image that they cover

    def __call__(self, mechanism: Any, x: Tensor, *more: Any) -> Tensor:
        """The map x after the mechanism; `more` may begin with a gating signal."""
        if self.first:
            _start(mechanism, x)
        if mechanism.gated and more and isinstance(more[0], Tensor):
            return mechanism(x, *more)
        if self.layout == Layout.BHWC:
            return _own(self._map(mechanism, x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        if self.layout == Layout.BNC:
            tokens = x[:, self.prefix :].transpose(1, 2).unflatten(2, self._grid(x))
            mapped = self._map(mechanism, tokens).flatten(2).transpose(1, 2)
            return torch.cat([x[:, : self.prefix], mapped], 1)
        return _own(self._map(mechanism, x))

    def _grid(self, x: Tensor) -> tuple[int, int]:
        """Height and width of the tokens' grid in this pass."""
        if self.image is None or isinstance(x, Proxy):
            return self.size
        return grid(x.shape[1] - self.prefix, self.image.size) or self._refuse(x)

    def _refuse(self, x: Tensor) -> Any:
        height, width = self.image.size if self.image else self.size
        raise Impossible(f"{x.shape[1] - self.prefix} tokens are no grid over {height}x{width} px")

    def _map(self, mechanism: nn.Module, x: Tensor) -> Tensor:
        """What the mechanism makes of maps (n, c, h, w), which for some are to be clips."""
        if mechanism.reads != "clip" or x.ndim != 4:
            return _run(mechanism, x)
        return _run(mechanism, x.unflatten(0, (-1, self.frames or 1))).flatten(0, 1)


def grid(tokens: int, image: tuple[int, int]) -> tuple[int, int] | None:
    """Height and width of tokens that cover an image (height, width) in equal squares; else None."""
    height, width = image
    rows = round((tokens * height / width) ** 0.5) if tokens > 0 else 0
    if rows == 0 or tokens % rows or rows * width != tokens // rows * height:
        return None
    return rows, tokens // rows


def _start(mechanism: Any, x: Tensor) -> None:
    if isinstance(x, Proxy) and type(mechanism).start_pass is not Mechanism.start_pass:
        name = type(mechanism).__name__
        raise Impossible(f"{name} begins every pass anew, which a graph of torch.fx cannot express")
    mechanism.start_pass()


def _run(mechanism: nn.Module, x: Tensor) -> Tensor:
    """Call the mechanism; in a trace of torch.fx it is one node, as layers of torch's own are."""
    if isinstance(x, Proxy):
        return x.tracer.create_proxy("call_module", x.tracer.path_of_module(mechanism), (x,), {})
    return mechanism(x)


def _own(y: Tensor) -> Tensor:
    """y, or a copy where y serves its own gradient: some blocks then add their shortcut to it in place."""
    if torch.compiler.is_compiling() or isinstance(y, Proxy) or not hasattr(type(y.grad_fn), "_saved_result"):
        return y
    return y.clone()
