"""Rules for int8 layers, static and dynamic: multiply-adds as in floating point, plus the conversions.

Quantizing costs 2 for each element (scale, round), and 2 more where the range is measured first (minimum,
maximum); dequantizing 2 (difference, product); an int8 layer's result is scaled once.
"""

from math import prod

import torch

from attnbench.cost.counting.matrix import Rule
from attnbench.cost.counting.operator import Call, Spec, Work

PACKED = {  # a layer's weight and bias as one object -> the operator that unpacks them
    "LinearPackedParamsBase": "linear_unpack",
    "Conv2dPackedParamsBase": "conv2d_unpack",
    "Conv3dPackedParamsBase": "conv3d_unpack",
}


def unpacked(packed: torch.ScriptObject) -> list[Spec | None]:
    """Weight and bias that an object holds; nothing where its kind is unknown."""
    name = PACKED.get(packed._type().name())  # type: ignore[attr-defined]
    if name is None:
        return []
    tensors = getattr(torch.ops.quantized, name)(packed)
    return [None if t is None else Spec(tuple(t.shape)) for t in tensors]


def layer(call: Call) -> Work:
    """A linear layer or a convolution: the weight of one output channel for each element of the result."""
    weight, bias = next(v for v in call.arguments.values() if isinstance(v, list) and len(v) == 2)
    measured = 4 * call.first.numel if "dynamic" in call.name else 0
    after = (1 + (bias is not None) + ("relu" in call.name)) * call.out.numel
    return Work(call.out.numel * prod(weight.shape[1:]), measured + after, call.out.numel)


def conversion(operations: int) -> Rule:
    """So many operations for each element of the result."""
    return lambda call: Work(0, operations * call.out.numel, 0)


def _layers() -> list[str]:
    kinds = ("linear", "conv1d", "conv2d", "conv3d")
    return [f"{kind}{relu}{how}" for kind in kinds for relu in ("", "_relu") for how in ("", "_dynamic")]


def table() -> dict[str, Rule]:
    """Operator -> rule."""
    return {
        **{f"quantized::{name}": layer for name in _layers()},
        **{f"quantized::{name}": conversion(1) for name in ("add", "mul", "add_relu", "mul_relu")},
        **{f"aten::{name}": conversion(2) for name in ("quantize_per_tensor", "quantize_per_channel")},
        "aten::quantize_per_tensor_dynamic": conversion(4),
        "aten::dequantize": conversion(2),
        "quantized::cat": conversion(0),
    }
