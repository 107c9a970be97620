"""How many numbers a model learns, keeps, and leaves out of weight decay."""

from collections.abc import Iterable

from torch import Tensor, nn

from attnbench.cost.counting.count import parts_of
from attnbench.mechanisms.base import Mechanism


def parameters(model: nn.Module) -> dict[str, int]:
    """Elements of the model's tensors, shared ones once.

    `params`: all parameters; `params_attention`: those of its mechanisms; `buffers`: kept but not learned;
    `params_no_decay`: those that the model (timm's `no_weight_decay`) or a mechanism excludes by name;
    `params_PART`: those of each of the network's `parts` (see `counting.count`).
    """
    parts = parts_of(model)
    mechanisms = [m for m in model.modules() if isinstance(m, Mechanism)]
    return {
        "params": _elements(model.parameters()),
        "params_attention": _elements(p for m in mechanisms for p in m.parameters()),
        "buffers": _elements(model.buffers()),
        "params_no_decay": _elements(_undecayed(model)),
        **{f"params_{part}": _elements(model.get_submodule(m).parameters()) for part, m in parts.items()},
    }


def _elements(tensors: Iterable[Tensor]) -> int:
    return sum({id(t): t.numel() for t in tensors}.values())


def _undecayed(model: nn.Module) -> Iterable[Tensor]:
    for module in model.modules():
        names = getattr(module, "no_weight_decay", None)
        if callable(names):
            own = dict(module.named_parameters())
            yield from (own[name] for name in names() if name in own)
