"""The second counter: fvcore's trace of the network, with our rules for what fvcore leaves out or estimates.

It sees operators as the source spells them (a whole `linear` or `einsum`), where the quick counter sees what
runs. Convolutions and linear layers keep fvcore's own handles. It runs the network once, on the CPU.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn

from attnbench.cost.copies import copied
from attnbench.cost.rules import RULES
from attnbench.cost.work import Call, Spec, Work, plain

OWN = ("aten::_convolution", "aten::addmm", "aten::bmm", "aten::linear")  # fvcore's handles that we trust


def traced(model: nn.Module, image: tuple[int, ...]) -> tuple[Work, set[str]]:
    """Work on one image of shape (c, h, w), in evaluation mode, and the operators without a rule."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fvcore.nn.flop_count import _DEFAULT_SUPPORTED_OPS
        from fvcore.nn.jit_analysis import JitModelAnalysis

        twin = copied(model, torch.device("cpu"))
        trusted = {kind: _DEFAULT_SUPPORTED_OPS[kind] for kind in OWN}
        analysis = JitModelAnalysis(twin, torch.rand(1, *image, generator=torch.Generator().manual_seed(0)))
        analysis.set_op_handle(**{kind: partial(_counted, trusted.get(kind)) for kind in _kinds()})
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        totals = analysis.by_operator()
        return Work(*(int(totals[field]) for field in Work._fields)), set(analysis.unsupported_ops())


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
    """A tensor as its Spec, a list as a list, a constant or a traced size as its number, else None."""
    node, kind = value.node(), value.type().kind()
    if kind == "TensorType":
        sizes = value.type().sizes()
        if sizes is None:
            return _scalar(node)
        return Spec(tuple(sizes), str(value.type().scalarType()).startswith("Complex"))
    if node.kind() in ("prim::ListConstruct", "prim::TupleConstruct"):
        return [_value(v) for v in node.inputs()]
    constant = value.toIValue()
    return _scalar(node) if constant is None and kind in ("IntType", "NumberType") else constant


def _scalar(node: Any) -> Any:
    """A number that the trace derives from a tensor's size."""
    inputs = [_value(v) for v in node.inputs()]
    kind = node.kind().removeprefix("aten::")
    if kind == "size":
        return inputs[0].shape[inputs[1]]
    if kind in ("Int", "ScalarImplicit", "prim::NumToTensor"):
        return _scalar(next(iter(node.inputs())).node()) if isinstance(inputs[0], Spec) else inputs[0]
    return None
