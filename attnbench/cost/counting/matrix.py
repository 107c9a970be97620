"""Rules for matrix work: convolutions, products of matrices, attention, recurrent layers.

Each rule gives multiply-adds, the additions of a bias as element-wise work, and the result's elements as
activations. Attention counts its scores as a result too, as its spelling in single steps does.
"""

from collections.abc import Callable
from math import prod

from attnbench.cost.counting.operator import Call, Spec, Work

Rule = Callable[[Call], Work]


def _product(call: Call, macs: int, bias: bool = False) -> Work:
    factor = 4 if call.out.complex else 1
    return Work(factor * macs, bias * call.out.numel, call.out.numel)


def convolution(call: Call) -> Work:
    """Any convolution: the weight once for each position of the result, or of the input where transposed."""
    x, weight = call["input"], call["weight"]
    moved = x if call["transposed"] or "transpose" in call.name else call.out
    positions = (
        moved.shape[0] * prod(moved.shape[2:])
        if len(moved.shape) == len(weight.shape)
        else prod(moved.shape[1:])
    )
    return _product(call, positions * weight.numel, call["bias"] is not None)


def linear(call: Call) -> Work:
    """A linear layer: input features for each element of the result."""
    return _product(call, call.out.numel * call["input"].shape[-1], call["bias"] is not None)


def matmul(call: Call) -> Work:
    """A product of matrices or vectors: the summed axis for each element of the result."""
    return _product(call, call.out.numel * call.first.shape[-1])


def added_product(call: Call) -> Work:
    """addmm, baddbmm, addmv: a product of the second and third tensor, added to the first."""
    _, a, *_ = (v for v in call.arguments.values() if isinstance(v, Spec))
    beta = call["beta"]
    return _product(call, call.out.numel * a.shape[-1], beta is None or beta != 0)


def added_batch_sum(call: Call) -> Work:
    """addbmm: the products of two batches of matrices, summed over the batch, added to the first tensor."""
    batch, _, inner = call["batch1"].shape
    return _product(call, call.out.numel * batch * inner, call["beta"] != 0)


def attention(call: Call) -> Work:
    """Scaled dot-product attention on any backend: q scaled unless by 1, scores, mask, softmax, values."""
    q, k, v = call["query"].shape, call["key"].shape, call["value"].shape
    scores = prod(q[:-1]) * k[-2]
    scaled = prod(q) if call["scale"] != 1 else 0
    masked = call["attn_mask"] is not None or bool(call["is_causal"])
    return Work(scores * (q[-1] + v[-1]), scaled + (5 + masked) * scores, scores + prod(q[:-1]) * v[-1])


def windowed(call: Call) -> Work:
    """Our window operators: scores sum over the queries' width, weighted sums over the window."""
    return _product(call, call.out.numel * call.first.shape[2])


def gathered(call: Call) -> Work:
    """Entries of windows side by side: copies, which are free."""
    return Work()


def deformable(call: Call) -> Work:
    """torchvision's deform_conv2d: a convolution of maps sampled with four taps each, times the mask."""
    x, weight, out = call["input"], call["weight"], call.out
    samples = out.shape[0] * prod(out.shape[2:]) * x.shape[1] * prod(weight.shape[2:])
    masked = bool(call["use_mask"])
    return Work(out.numel * prod(weight.shape[1:]), (4 + masked) * samples + out.numel, out.numel)


def recurrent(gates: int, pointwise: int) -> Rule:
    """LSTM, GRU and plain RNN layers: `gates` rows of weight a unit, `pointwise` operations a unit and step.

    The sum of both products is part of `pointwise`; a bias, where there is one, is an addition a gate.
    Packed sequences arrive as `data`, one row a step that exists.
    """

    def rule(call: Call) -> Work:
        x, weights = call["data"] or call["input"], call["params"]
        steps = prod(x.shape[:-1])
        matrices = [w.shape for w in weights if len(w.shape) == 2]
        biases = [w.shape for w in weights if len(w.shape) == 1]
        rows = sum(w[0] for w in matrices)
        units = sum(w[0] for w in matrices[1::2]) // gates
        work = steps * (pointwise * units + sum(b[0] for b in biases))
        return Work(steps * sum(map(prod, matrices)), work, steps * rows)

    return rule


def bilinear(call: Call) -> Work:
    """nn.Bilinear: both inputs' features for each element of the result."""
    return _product(call, call.out.numel * prod(call["weight"].shape[1:]), call["bias"] is not None)


def trilinear(call: Call) -> Work:
    """nn.Bilinear as it reaches the kernel: three tensors, broadcast over each other's missing axes."""
    shapes = [list(call[name].shape) for name in ("i1", "i2", "i3")]
    for shape, name in zip(shapes, ("expand1", "expand2", "expand3")):
        for axis in call[name]:
            shape.insert(axis, 1)
    return _product(call, prod(max(axis) for axis in zip(*shapes)))


def distance(call: Call) -> Work:
    """All pairs of distances: difference, power and sum over the last axis, then the root."""
    pairs = call.out.numel
    return Work(0, pairs * (3 * call.first.shape[-1] + 1), 0)


def affine_grid(call: Call) -> Work:
    """A sampling grid from affine matrices: 2x3 (3x4) times each position's homogeneous coordinates."""
    return _product(call, call.out.numel * call["theta"].shape[-1])


def _named(rule: Rule, names: str, prefix: str = "aten::") -> dict[str, Rule]:
    return {prefix + name: rule for name in names.split()}


def table() -> dict[str, Rule]:
    """Operator -> rule."""
    return {
        **_named(convolution, "conv1d conv2d conv3d convolution _convolution _convolution_mode"),
        **_named(convolution, "conv_transpose1d conv_transpose2d conv_transpose3d"),
        **_named(linear, "linear"),
        **_named(matmul, "matmul mm bmm mv dot vdot"),
        **_named(added_product, "addmm baddbmm addmv"),
        **_named(added_batch_sum, "addbmm"),
        **_named(attention, "scaled_dot_product_attention"),
        **_named(recurrent(4, 13), "lstm"),
        **_named(recurrent(3, 10), "gru"),
        **_named(recurrent(1, 2), "rnn_tanh rnn_relu"),
        **_named(bilinear, "bilinear"),
        **_named(trilinear, "_trilinear"),
        **_named(distance, "cdist _cdist_forward _euclidean_dist"),
        **_named(affine_grid, "affine_grid_generator"),
        **_named(deformable, "deform_conv2d", prefix="torchvision::"),
        **_named(attention, "attend", prefix="attnbench::"),
        **_named(windowed, "window_scores window_sum", prefix="attnbench::"),
        **_named(gathered, "window_neighbours", prefix="attnbench::"),
    }
