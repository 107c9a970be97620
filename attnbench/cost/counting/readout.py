"""Work that leaves torch: values of tensors that other code, such as NumPy, goes on with."""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

READS = {Tensor.numpy: "numpy", Tensor.__array__: "numpy", Tensor.__dlpack__: "dlpack"}


class Readouts(TorchFunctionMode):
    """Notes where tensors become arrays, and lists of floating-point numbers: what follows is not counted."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in READS:
            self.found.add(READS[func])
        elif func is Tensor.tolist and args[0].is_floating_point() and args[0].ndim:
            self.found.add("tolist")
        return func(*args, **(kwargs or {}))


def like_weights(model: torch.nn.Module) -> torch.dtype:
    """The floating-point type of a network's first weight, in which it takes its input."""
    kinds = (p.dtype for p in model.parameters() if p.is_floating_point())
    return next(kinds, torch.float32)
