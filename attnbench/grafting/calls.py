"""Whether each mechanism of a network runs: what replaces modules may leave them behind, silently."""

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from attnbench.grafting.attached import Attached, outer
from attnbench.grafting.graft import named_mechanisms


class NotCalled(RuntimeError):
    """A mechanism, or a place of it, that no forward pass reaches."""


class _Note:
    """Whether a module was called."""

    called = False


class Calls:
    """Notes which mechanisms of a network, and which of the places that they stand at, are called.

    Made before the network is converted, wrapped, compiled or loaded, opened before the first forward pass
    of what comes of that, and asked after it. Hooks note the calls, in compiled networks too.
    """

    def __init__(self, network: nn.Module) -> None:
        watched: dict[str, nn.Module] = dict(named_mechanisms(network))
        watched |= {name: m for name, m in network.named_modules() if isinstance(m, Attached)}
        self._watched = [(outer(name) or "the network", module, _Note()) for name, module in watched.items()]
        self._handles: list[RemovableHandle] = []

    def open(self) -> None:
        """Begin to watch."""
        for _, module, note in self._watched:
            self._handles.append(module.register_forward_hook(partial(_called, note)))

    def close(self) -> None:
        """Watch no more."""
        for handle in self._handles:
            handle.remove()

    def check(self, when: str) -> None:
        """Raise `NotCalled`, with names, where one was not called."""
        missing = [f"{name} ({_kind(module)})" for name, module, note in self._watched if not note.called]
        if missing:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise NotCalled(f"not called {when}: {', '.join(missing[:3])}{more}")


def _kind(module: nn.Module) -> str:
    kinds = [module] if not isinstance(module, Attached) else [module._modules[n] for n in module.attached]
    return ", ".join(type(kind).__name__ for kind in kinds)


def _called(note: _Note, module: nn.Module, args: Any, output: Any) -> None:
    note.called = True


def check_called(network: nn.Module, *inputs: Any) -> None:
    """Run the network once, in evaluation mode; raises `NotCalled` where the pass reaches no mechanism of it.

    For a network that another tool has converted: what was replaced with its mechanism is not found again,
    so that a network without any mechanism raises, too.
    """
    if not named_mechanisms(network):
        raise NotCalled("the network has no mechanism (any more)")
    calls, training = Calls(network), network.training
    calls.open()
    try:
        with torch.no_grad():
            network.eval()(*inputs)
    finally:
        calls.close()
        network.train(training)
    calls.check("in a forward pass")
