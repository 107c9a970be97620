"""How published figures were counted and printed, as code: six counters in use, three units.

All count the multiply-adds of convolutions, linear layers and matrix products; they differ in what they add
for layers of other kinds, and see only what is a layer, not what is written as an expression.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from attnbench.cost.counting import matrix
from attnbench.cost.counting.elementwise import pooling, reduction
from attnbench.cost.counting.operator import Call

Weigh = Callable[[Call], float]
PRODUCTS = matrix.table()


def macs(call: Call) -> float:
    """Multiply-adds alone."""
    return PRODUCTS[call.name](call).macs if call.name in PRODUCTS else 0


def _each(operations: float) -> Weigh:
    return lambda call: operations * call.out.numel


def _taps(call: Call) -> float:
    return pooling(2)(call).elementwise


def _inputs(call: Call) -> float:
    return reduction(call).elementwise


def _mean(call: Call) -> float:
    """One addition for each input and one division for each result."""
    return reduction(call).elementwise + call.out.numel


def _doubled(call: Call) -> float:
    """A linear layer's multiplications and additions apart."""
    return 2 * macs(call) - call.out.numel


def _with_bias(call: Call) -> float:
    work = PRODUCTS[call.name](call)
    return work.macs + work.elementwise


def _half_of_both(call: Call) -> float:
    """Half of a convolution's multiplications and additions; without a bias, one less a weight plane."""
    planes = 0 if call["bias"] is not None else call["weight"].shape[0] * call["weight"].shape[1]
    return macs(call) - planes / 2


NORM, RELU, MAX, MEAN = "aten::batch_norm", "aten::relu", "aten::max_pool2d", "aten::adaptive_avg_pool2d"
RELU6, CONVOLUTION, LINEAR = "aten::hardtanh", "aten::convolution", "aten::addmm"
LAYER_NORM = "aten::layer_norm"
NO_LAYERS = dict.fromkeys(
    ("aten::mm", "aten::bmm", "aten::baddbmm", "aten::scaled_dot_product_attention", "attnbench::attend"),
    _each(0),
)
"""Products of maps, which are no layers: counters that go by layers do not see them."""

COUNTERS: Mapping[str, Mapping[str, Weigh]] = {
    "macs": {},
    "fvcore": {NORM: _each(2), LAYER_NORM: _each(5), MEAN: _inputs},
    "flops-counter": {
        NORM: _each(2),
        RELU: _each(1),
        RELU6: _each(1),
        MAX: _inputs,
        MEAN: _inputs,
        CONVOLUTION: _with_bias,
    },
    "mmcv": {
        NORM: _each(2),
        RELU: _each(1),
        MAX: _inputs,
        "aten::upsample_bilinear2d": _each(1),
        CONVOLUTION: _with_bias,
        **NO_LAYERS,
    },
    "old thop": {
        NORM: _each(4),
        RELU: _each(1),
        RELU6: _each(1),
        MAX: _taps,
        MEAN: _mean,
        LINEAR: _doubled,
        CONVOLUTION: _with_bias,
    },
    "imgclsmob": {
        NORM: _each(2),
        RELU: _each(0.5),
        "aten::sigmoid": _each(2),
        MAX: lambda call: _taps(call) / 2,
        MEAN: lambda call: _inputs(call) / 2,
        CONVOLUTION: _half_of_both,
        **NO_LAYERS,
    },
}
"""Counter -> operator -> what it counts for a call of it, where that is not its multiply-adds."""

UNITS = {"decimal": (1e6, 1e9), "binary": (2**20, 2**30), "binary M": (2**20, 1000 * 2**20), "one": (1, 1)}
"""What parameters, and multiply-adds, are divided by before they are printed as M and G."""


@dataclass(frozen=True)
class Convention:
    """A source's way to count and to print; `double` where a multiply-add is two operations."""

    counter: str = "macs"
    unit: str = "decimal"
    double: bool = False

    def params(self, count: int) -> float:
        """Parameters in the source's millions."""
        return count / UNITS[self.unit][0]

    def macs(self, calls: Iterable[Call]) -> float:
        """The source's count of a network's calls, in its billions."""
        weights = COUNTERS[self.counter]
        total = sum(weights.get(call.name, macs)(call) for call in calls)
        return total * (2 if self.double else 1) / UNITS[self.unit][1]


def parse(text: str) -> Convention:
    """A convention as the fact table writes it: `counter, unit` or `counter, unit, 2x`."""
    counter, unit, *rest = (part.strip() for part in text.split(","))
    if counter not in COUNTERS or unit not in UNITS or rest not in ([], ["2x"]):
        raise ValueError(f"no convention: '{text}'")
    return Convention(counter, unit, bool(rest))
