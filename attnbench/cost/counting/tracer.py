"""The second counter: fvcore's trace of the network, with our rules for what fvcore leaves out or estimates.

It sees operators as the source spells them (a whole `linear` or `einsum`), where the quick counter sees what
runs. Convolutions and linear layers keep fvcore's own handles. It runs the network once, on the CPU.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from attnbench.cost.counting.operator import Call, Spec, Work, plain
from attnbench.cost.counting.rules import RULES
from attnbench.grafting.clone import copied

OWN = ("aten::_convolution", "aten::addmm", "aten::bmm", "aten::linear")  # fvcore's handles that we trust


def traced(
    model: nn.Module, image: tuple[int, ...], parts: Mapping[str, str] | None = None
) -> tuple[Work, dict[str, Work], set[str]]:
    """Work on one image of shape (c, h, w), in evaluation mode, and the operators without a rule.

    Between them, the work of the modules that `parts` names (part -> dotted name).
    """
    opened = mock.patch.object(torch.autograd.Function, "apply", classmethod(_forward))
    with warnings.catch_warnings(), torch.no_grad(), opened, PlainSizes():
        warnings.simplefilter("ignore")
        from fvcore.nn.flop_count import _DEFAULT_SUPPORTED_OPS
        from fvcore.nn.jit_analysis import JitModelAnalysis

        twin = copied(model, torch.device("cpu"))
        trusted = {kind: _DEFAULT_SUPPORTED_OPS[kind] for kind in OWN}
        analysis = JitModelAnalysis(twin, torch.rand(1, *image, generator=torch.Generator().manual_seed(0)))
        analysis.set_op_handle(**{kind: partial(_counted, trusted.get(kind)) for kind in _kinds()})
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        by_module = analysis.by_module_and_operator()
        shares = {part: _work(by_module[name]) for part, name in (parts or {}).items()}
        return _work(analysis.by_operator()), shares, set(analysis.unsupported_ops())


def _work(totals: Counter[str]) -> Work:
    return Work(*(int(totals[field]) for field in Work._fields))


def _forward(function: Any, *args: Any) -> Any:
    """A custom autograd function's forward pass in the open, where a trace would see one opaque node."""
    if function.setup_context is torch.autograd.Function.setup_context:
        return function.forward(torch.autograd.function.FunctionCtx(), *args)
    return function.forward(*args)


def _kinds() -> Iterable[str]:
    """Operators with a rule, as a trace may name them: in place too."""
    return (kind for name in RULES for kind in (name, f"{name}_"))


def _counted(handle: Callable[..., Any] | None, inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    call = call_of(inputs, outputs)
    work = RULES[call.name](call)
    if handle is not None:
        counts = handle(inputs, outputs)
        work = work._replace(macs=sum(counts.values()) if isinstance(counts, dict) else counts)
    return Counter(work._asdict())


def call_of(inputs: list[Any], outputs: list[Any]) -> Call:
    """A traced node in a rule's terms."""
    node = outputs[0].node()
    names = [argument.name for argument in torch._C.parse_schema(node.schema()).arguments]
    specs = [spec for out in outputs if isinstance(spec := _value(out), Spec)]
    return Call(plain(node.kind()), dict(zip(names, map(_value, inputs))), tuple(specs))


def _value(value: Any) -> Any:
    """A tensor as its Spec, a list as a list, a constant as itself, anything else as None."""
    if value.type().kind() == "TensorType":
        sizes = value.type().sizes()
        return (
            None
            if sizes is None
            else Spec(tuple(sizes), str(value.type().scalarType()).startswith("Complex"))
        )
    if value.node().kind() in ("prim::ListConstruct", "prim::TupleConstruct"):
        return [_value(v) for v in value.node().inputs()]
    return value.toIValue()


class PlainSizes(TorchFunctionMode):
    """Keeps sizes out of a trace: there they would be tensors, which not all code takes for numbers."""

    SIZES = (torch.Tensor.shape.__get__, torch.Tensor.size, torch.Tensor.numel, torch.Tensor.__len__)  # type: ignore[attr-defined]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in self.SIZES:
            return func(*args, **(kwargs or {}))
        state = torch._C._get_tracing_state()
        torch._C._set_tracing_state(None)  # type: ignore[attr-defined]
        try:
            return func(*args, **(kwargs or {}))
        finally:
            torch._C._set_tracing_state(state)  # type: ignore[attr-defined]
