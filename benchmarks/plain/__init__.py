"""Each mechanism once more, plainly: its equations in the first torch operators that come to mind.

One function a mechanism, in the file of its category, under the mechanism's name: `se(m, x)` takes the
mechanism `m`, whose parameters it uses, and a map x. It stands for default options. What makes ours faster
is left out: masks are made, windows are copied, matrices of all pairs are written down. A mechanism may go
without one.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from attnbench import mechanisms
from attnbench.mechanisms.base import Mechanism

Form = Callable[[Any, Tensor], Tensor]
CATEGORIES = ("channel", "branch", "spatial", "windowed", "channel_spatial")


def form(name: str) -> Form | None:
    """The plain form of that mechanism, if there is one."""
    for category in CATEGORIES:
        found = getattr(import_module(f"{__name__}.{category}"), name, None)
        if found is not None and name in mechanisms.entries():
            return found
    return None


class Plain(nn.Module):
    """A mechanism's parameters, used by its plain form."""

    def __init__(self, mechanism: Mechanism, form: Form) -> None:
        super().__init__()
        self.mechanism, self.form = mechanism, form

    def forward(self, x: Tensor) -> Tensor:
        return self.form(self.mechanism, x)
