"""The quick counter: watches the operators of one forward pass, on the meta device where it can.

Multiply-adds come from torch's own `flop_counter` where it has a formula, else from `matrix`.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from attnbench.cost.counting.integer import unpacked
from attnbench.cost.counting.operator import Call, Spec, Work, plain
from attnbench.cost.counting.readout import Readouts
from attnbench.cost.counting.rules import OPENED, RULES


class Watch(TorchDispatchMode):
    """Adds up the work of each operator that runs, by the module that runs it, innermost first."""

    def __init__(self) -> None:
        super().__init__()
        self.work: dict[str, Work] = defaultdict(Work)
        self.calls: list[Call] = []
        self.places: list[str] = []  # of the calls: the modules that made them
        self.uncounted: set[str] = set()
        self.entered: dict[str, None] = {}  # modules in the order they first ran
        self.path = [""]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = plain(func.name().split(".")[0])
        if name in OPENED or name not in RULES:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = _run(func, name, args, kwargs)
        if name in RULES or not func.is_view:
            self._add(call_of(func, name, args, kwargs, result), func, args, kwargs, result)
        return result

    def _add(self, call: Call, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Count a call, or name it where no rule fits it."""
        try:
            work = _work(call, func, args, kwargs, result)
        except Exception:  # no rule, or an unforeseen form of the operator
            self.uncounted.add(call.name)
            return
        self.calls.append(call)
        self.places.append(self.path[-1])
        self.work[self.path[-1]] += work


def _run(func: Any, name: str, args: Any, kwargs: Any) -> Any:
    """The operator's result; a norm's on the meta device is any empty map, its kernel there being slow."""
    if name == "aten::batch_norm" and args[0].is_meta:
        return torch.empty_like(args[0])
    return func(*args, **kwargs)


def _work(call: Call, func: Any, args: Any, kwargs: Any, result: Any) -> Work:
    work = RULES[call.name](call)
    formula = flop_registry.get(func.overloadpacket)
    if formula is None or call.out.complex:
        return work
    return work._replace(macs=formula(*args, **kwargs, out_val=result) // 2)


def call_of(func: Any, name: str, args: Any, kwargs: Any, result: Any) -> Call:
    """The call in a rule's terms, defaults of the schema filled in."""
    given = {}
    for i, argument in enumerate(func._schema.arguments):
        default = argument.default_value if argument.has_default_value() else None
        given[argument.name] = args[i] if i < len(args) else kwargs.get(argument.name, default)
    outputs = result if isinstance(result, (tuple, list)) else (result,)
    specs = tuple(_spec(out) for out in outputs if isinstance(out, Tensor))
    return Call(name, {key: _spec(value) for key, value in given.items()}, specs)


def _spec(value: Any) -> Any:
    if isinstance(value, Tensor):
        return Spec(tuple(value.shape), value.is_complex())
    if isinstance(value, (list, tuple)):
        return [_spec(v) for v in value]
    if isinstance(value, torch.ScriptObject):
        return unpacked(value)
    return value


class _Autocast(torch.autocast):
    """Torch's own, which does not know the meta device: nothing there has a precision to be changed."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu" if device_type == "meta" else device_type, *args, **kwargs)


@contextmanager
def watching(model: nn.Module) -> Iterator[Watch]:
    """Count what runs inside, by `model`'s names of modules; attention's opaque fast path stays off."""
    watch, readouts = Watch(), Readouts()
    names = {module: name for name, module in model.named_modules()}

    def enter(module: nn.Module, inputs: Any) -> None:
        watch.path.append(names.get(module, watch.path[-1]))
        watch.entered[watch.path[-1]] = None

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        watch.path.pop()

    fast = torch.backends.mha.get_fastpath_enabled()
    handles = [hooks.register_module_forward_pre_hook(enter), hooks.register_module_forward_hook(leave)]
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.inference_mode(), mock.patch.object(torch, "autocast", _Autocast), readouts, watch:
            yield watch
    finally:
        watch.uncounted |= readouts.found
        torch.backends.mha.set_fastpath_enabled(fast)
        for handle in handles:
            handle.remove()
