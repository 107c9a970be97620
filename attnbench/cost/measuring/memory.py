"""Peak memory of a forward pass or of a training step.

On a GPU it is the most that CUDA's caching allocator had handed out. On the CPU it is counted: the bytes of
all tensor storages that live at once, found by watching every operator's results and when they die. Both
include weights, buffers, images, gradients and the optimiser's state; scratch space inside an operator shows
on the GPU only.
"""

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from attnbench.cost.measuring.step import Conditions, prepared, step, step_of


def peak_memory(
    model: nn.Module,
    image: tuple[int, ...],
    batch: int = 1,
    training: bool = False,
    device: torch.device | str = "cpu",
) -> int:
    """Bytes at the peak of one forward pass, or of a training step after the first.

    `image` is (c, h, w). The first training step allocates what lasts (momentum), so the second is measured.
    """
    on = Conditions(image, batch, torch.device(device), training)
    return _on_gpu(model, on) if on.device.type == "cuda" else _on_cpu(model, on)


def _on_gpu(model: nn.Module, on: Conditions) -> int:
    torch.cuda.synchronize(on.device)
    before = torch.cuda.memory_allocated(on.device)
    run = step(model, on)
    run()
    torch.cuda.synchronize(on.device)
    torch.cuda.reset_peak_memory_stats(on.device)
    run()
    torch.cuda.synchronize(on.device)
    return torch.cuda.max_memory_allocated(on.device) - before


def _on_cpu(model: nn.Module, on: Conditions) -> int:
    clone, images = prepared(model, on)
    with Storages() as storages:
        storages.add([*clone.parameters(), *clone.buffers(), images])
        run = step_of(clone, images, on)
        run()
        storages.peak = storages.live
        run()
    return storages.peak


class Storages(TorchDispatchMode):
    """The bytes of the storages that operators have made inside and that still live, and their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.add(t for t in pytree.tree_leaves(result) if isinstance(t, Tensor))
        return result

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Follow these tensors' storages, each once, until they die."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if storage._cdata in self._known:
                continue
            self._known.add(storage._cdata)
            self.live += storage.nbytes()
            weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.live)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size
