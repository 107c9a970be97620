"""The second counter: fvcore's trace of the network, with our rules for what fvcore leaves out or estimates.

It sees operators as the source spells them (a whole `linear`), where the quick counter sees what runs.
Convolutions and linear layers keep fvcore's own handles. It runs the network once, on the CPU.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from attnbench.cost.counting.dispatch import watching
from attnbench.cost.counting.operator import Call, Spec, Work, plain
from attnbench.cost.counting.readout import Readouts, like_weights
from attnbench.cost.counting.rules import RULES
from attnbench.grafting.clone import copied

OWN = ("aten::_convolution", "aten::addmm", "aten::bmm", "aten::linear")  # fvcore's handles that we trust
SPELLED = "aten::einsum"  # what torch makes of it depends on the equation and the sizes


def traced(
    model: nn.Module, image: tuple[int, ...], parts: Mapping[str, str] | None = None
) -> tuple[Work, dict[str, Work], set[str]]:
    """Work on one image of shape (c, h, w), in evaluation mode, and the operators without a rule.

    Between them, the work of the modules that `parts` names (part -> dotted name).
    """
    opened = mock.patch.object(torch.autograd.Function, "apply", classmethod(_forward))
    with warnings.catch_warnings(), torch.no_grad(), opened, Readouts() as readouts, _Traced() as seen:
        warnings.simplefilter("ignore")
        from fvcore.nn.flop_count import _DEFAULT_SUPPORTED_OPS
        from fvcore.nn.jit_analysis import JitModelAnalysis

        clone = copied(model, torch.device("cpu"))
        clone.register_forward_hook(seen.returned)
        trusted = {kind: _DEFAULT_SUPPORTED_OPS[kind] for kind in OWN}
        images = torch.rand(1, *image, generator=torch.Generator().manual_seed(0)).to(like_weights(model))
        analysis = JitModelAnalysis(clone, images)
        failed: set[str] = set()
        analysis.set_op_handle(
            **{kind: partial(_counted, kind, trusted.get(kind), failed) for kind in _kinds()}
        )
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        by_module = analysis.by_module_and_operator()
        shares = {part: _work(by_module[name]) for part, name in (parts or {}).items()}
        unknown = {plain(name) for name in analysis.unsupported_ops()} | failed | readouts.found
        return _work(analysis.by_operator()), shares, unknown


def _work(totals: Counter[str]) -> Work:
    return Work(*(int(totals[field]) for field in Work._fields))


def _forward(function: Any, *args: Any) -> Any:
    """A custom autograd function's forward pass in the open, where a trace would see one opaque node."""
    if function.setup_context is torch.autograd.Function.setup_context:
        return function.forward(torch.autograd.function.FunctionCtx(), *args)
    return function.forward(*args)


def _kinds() -> Iterable[str]:
    """Operators with a rule, as a trace may name them: in place too."""
    return (kind for name in (*RULES, SPELLED) for kind in (name, f"{name}_"))


def _counted(
    kind: str, handle: Callable[..., Any] | None, failed: set[str], inputs: list[Any], outputs: list[Any]
) -> Counter[str]:
    """Work of a traced node; where no rule fits its form, nothing, and its name goes to `failed`."""
    if not outputs:  # the end of a region that a profiler is to see
        return Counter()
    try:
        call = call_of(inputs, outputs)
        work = _einsum(call) if call.name == SPELLED else RULES[call.name](call)
        if handle is not None:
            counts = handle(inputs, outputs)
            work = work._replace(macs=sum(counts.values()) if isinstance(counts, dict) else counts)
    except Exception:  # an unforeseen form of the operator
        failed.add(plain(kind))
        return Counter()
    return Counter(work._asdict())


def _einsum(call: Call) -> Work:
    """What torch runs for an equation and operands of these shapes."""
    kinds = {False: torch.float32, True: torch.complex64}
    operands = [torch.empty(t.shape, dtype=kinds[t.complex], device="meta") for t in call["tensors"]]
    with watching(nn.Module()) as watch:
        torch.einsum(call["equation"], operands)
    return sum(watch.work.values(), Work())


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


class _Traced(TorchFunctionMode):
    """Makes a trace hold all that runs: sizes as plain numbers, and results that no output depends on.

    Sizes would be tensors there, which not all code takes for numbers. Unused results would be left out: an
    empty tensor made of each, which costs nothing, is kept for `returned`.
    """

    SIZES = (torch.Tensor.shape.__get__, torch.Tensor.size, torch.Tensor.numel, torch.Tensor.__len__)  # type: ignore[attr-defined]

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        state = torch._C._get_tracing_state()
        if func not in self.SIZES:
            result = func(*args, **(kwargs or {}))
            if state is not None:
                self.kept += [t.new_empty(0) for t in pytree.tree_leaves(result) if isinstance(t, Tensor)]
            return result
        torch._C._set_tracing_state(None)  # type: ignore[attr-defined]
        try:
            return func(*args, **(kwargs or {}))
        finally:
            torch._C._set_tracing_state(state)  # type: ignore[attr-defined]

    def returned(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        """The network's output for the trace: something of every result."""
        return tuple(self.kept) or output
