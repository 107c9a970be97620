"""Rules for element-wise work, reductions, normalisations, pooling, interpolation, and what is free.

The unit is one elementary operation on one number: an arithmetic operation, comparison, selection, or a
function such as exp, erf, tanh, sigmoid, sqrt. A fused operator counts as its definition in these units:

- point by point: one for each element of the result; silu 2 (sigmoid, product), gelu 5, see POINTWISE;
- reductions (sum, mean, max, cumulative sum): one for each element of the input;
- variance 4 for each input element (mean, difference, square, sum); norms 2, and 1 for the root;
- softmax 5 (maximum, difference, exp, sum, quotient);
- normalisations: statistics 4 where they are taken from the input (mean, difference, square, mean), else
  the difference 1; the quotient 1; weight and bias 1 each; and 2 for each pair of statistics;
- pooling: one for each tap of a window, which for a global mean is one for each input element;
- interpolation and sampling: one for each tap (bilinear 4, bicubic 16, nearest none; antialiased, as many as
  the kernel covers, stretched by the scale and cut off at the border);
- weight norm: 2 for each element (square, sum), the root and the quotient for each norm, and the product;
- FFT of n points: 5 n log2 n, half of that where one side is real; a complex product 6, other complex work 2;
- sorting n numbers: n log2 n; scattering with addition: one for each source element;
- copies, views, indexing, padding, factories of constants and work on single numbers: nothing.
"""

from math import ceil, inf, log2, prod

from attnbench.cost.counting.free import FREE, MARKS
from attnbench.cost.counting.matrix import Rule
from attnbench.cost.counting.operator import Call, Spec, Work, many

POINTWISE = {  # operations of the definition -> operators
    1: """
        add sub rsub mul div true_divide floor_divide remainder fmod pow square sqrt rsqrt reciprocal
        neg abs sign exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan atan2 sinh cosh tanh
        erf erfc sigmoid relu threshold floor ceil round trunc frac maximum minimum fmax fmin where
        masked_fill heaviside polar angle eq ne lt le gt ge logical_and logical_or logical_not
        logical_xor bitwise_and bitwise_or bitwise_not bitwise_xor __and__ __or__ __xor__ isnan isinf
        isfinite nan_to_num bernoulli rand rand_like randn randn_like uniform normal exponential
    """,
    2: """
        addcmul addcdiv silu glu hardtanh relu6 leaky_relu prelu _prelu_kernel softplus xlogy softshrink
        hardshrink
    """,
    3: "lerp elu log_sigmoid log_sigmoid_forward logit",
    4: "mish celu selu hardsigmoid logaddexp",
    5: "hardswish",
}
REDUCTIONS = """
    sum mean max min amax amin aminmax prod any all argmax argmin nansum count_nonzero cumsum cumprod
    cummax cummin _cummax_helper median kthvalue topk multinomial
"""


def _flat(elementwise: int) -> Work:
    return Work(0, elementwise, 0)


def free(call: Call) -> Work:
    """Nothing."""
    return Work()


def pointwise(operations: int) -> Rule:
    """So many operations for each element of the result; none where the result is a single number."""

    def rule(call: Call) -> Work:
        if not call.out.shape:
            return Work()
        complex_factor = 1 if not call.out.complex else 6 if call.name == "aten::mul" else 2
        return _flat(operations * complex_factor * call.out.numel)

    return rule


def clamp(call: Call) -> Work:
    """One comparison a bound."""
    return _flat(call.out.numel * sum(call[bound] is not None for bound in ("min", "max")))


def gelu(call: Call) -> Work:
    """0.5 x (1 + erf(x / sqrt 2)), or the longer formula with tanh."""
    return _flat(call.out.numel * (8 if call["approximate"] == "tanh" else 5))


def reduction(call: Call) -> Work:
    """One operation for each element of the input; `max` of two tensors is point by point."""
    if isinstance(call["other"], Spec):
        return pointwise(1)(call)
    return _flat(call.first.numel if call.first.shape else 0)


def deviation(root: bool) -> Rule:
    """Variance, or with a root the standard deviation."""
    return lambda call: _flat(4 * call.first.numel + root * call.out.numel)


def norm(call: Call) -> Work:
    """Vector norm: the power and the sum, and the root where the order has one."""
    order = call["ord"] if "ord" in call.arguments else call["p"]
    root = order not in (1, inf, -inf, 0)
    return _flat(2 * call.first.numel + root * call.out.numel)


def log_sum_exp(call: Call) -> Work:
    """Maximum, difference, exp, sum; then the logarithm and the maximum again."""
    return _flat(4 * call.first.numel + 2 * call.out.numel)


def softmax(call: Call) -> Work:
    """Maximum, difference, exp, sum, quotient."""
    return _flat(5 * call.out.numel)


def log_softmax(call: Call) -> Work:
    """As softmax, with a difference for the quotient and a logarithm for each sum."""
    return _flat(5 * call.out.numel + call.out.numel // call.out.shape[call["dim"]])


def _normalised(call: Call, measured: bool, statistics: int) -> Work:
    affine = (call["weight"] is not None) + (call["bias"] is not None)
    return _flat(call.out.numel * ((4 if measured else 1) + 1 + affine) + 2 * statistics)


def batch_norm(call: Call) -> Work:
    """Batch normalisation: one pair of statistics a channel, taken from the input in training."""
    training = call["training"] if "training" in call.arguments else "no_training" not in call.name
    return _normalised(call, bool(training), call.out.shape[1])


def instance_norm(call: Call) -> Work:
    """Instance normalisation: one pair of statistics for each map."""
    measured = bool(call["use_input_stats"])
    return _normalised(call, measured, prod(call.out.shape[:2]) if measured else call.out.shape[1])


def layer_norm(call: Call) -> Work:
    """Layer normalisation: one pair of statistics for each normalised block."""
    return _normalised(call, True, call.out.numel // prod(call["normalized_shape"]))


def group_norm(call: Call) -> Work:
    """Group normalisation: one pair of statistics for each group of channels of each image."""
    groups = call["num_groups"] or call["group"]
    return _normalised(call, True, call.out.shape[0] * groups)


def rms_norm(call: Call) -> Work:
    """Square, mean, quotient, weight; an addition and a root for each mean."""
    x = call["input"]
    rows = x.numel // prod(call["normalized_shape"])
    return _flat(x.numel * (3 + (call["weight"] is not None)) + 2 * rows)


def pooling(axes: int) -> Rule:
    """One operation for each tap of each window."""
    return lambda call: _flat(call.out.numel * prod(many(call["kernel_size"], axes)))


def adaptive_pooling(axes: int) -> Rule:
    """Windows from floor(i L / n) to ceil((i + 1) L / n), one operation a tap."""

    def rule(call: Call) -> Work:
        pairs = zip(call.first.shape[-axes:], call.out.shape[-axes:])
        taps = prod(sum(ceil((i + 1) * size / n) - i * size // n for i in range(n)) for size, n in pairs)
        return _flat(prod(call.out.shape[:-axes]) * taps)

    return rule


def interpolation(taps: int) -> Rule:
    """So many taps for each element of the result."""
    return lambda call: _flat(taps * call.out.numel)


def antialiased(width: int) -> Rule:
    """Interpolation by a kernel `width` positions wide, wider where the map shrinks."""

    def rule(call: Call) -> Work:
        sides = zip(call.first.shape[2:], call.out.shape[2:])
        return _flat(prod(call.out.shape[:2]) * prod(_covered(size, n, width) for size, n in sides))

    return rule


def _covered(size: int, results: int, width: int) -> int:
    """Positions of an axis of that size that the kernels of all results cover."""
    scale = size / results
    reach = width / 2 * max(scale, 1)
    middles = [scale * (i + 0.5) for i in range(results)]
    return sum(min(int(m + reach + 0.5), size) - max(int(m - reach + 0.5), 0) for m in middles)


def weight_norm(call: Call) -> Work:
    """g v / |v|: the norms, the quotients g / |v|, the product."""
    return _flat(3 * call["v"].numel + 2 * call["g"].numel)


def grid_sample(call: Call) -> Work:
    """Taps of each sample: 4 bilinear (8 in three axes), none nearest, 16 bicubic."""
    linear = 2 ** (len(call.out.shape) - 2)
    return _flat(call.out.numel * {0: linear, 1: 0, 2: 16}[call["interpolation_mode"]])


def embedding_bag(call: Call) -> Work:
    """One operation for each element that is summed."""
    return _flat(call["indices"].numel * call["weight"].shape[1])


def scatter_sum(call: Call) -> Work:
    """index_add, scatter_add and their like: one addition for each element of the source."""
    source = next(call[name] for name in ("source", "src", "values") if isinstance(call[name], Spec))
    return _flat(source.numel)


def fold(call: Call) -> Work:
    """col2im: one addition for each element of the columns."""
    return _flat(call.first.numel)


def sort(call: Call) -> Work:
    """n log2 n for each row of n."""
    n = call.first.numel
    length = call.first.shape[-1 if call["dim"] is None else call["dim"]] if call.first.shape else 1
    return _flat(ceil(n * log2(length)) if length > 1 else 0)


def dropout(call: Call) -> Work:
    """Nothing outside training; in training the draw, the scale and the product."""
    return _flat(3 * call.out.numel if call["train"] else 0)


def fourier(call: Call) -> Work:
    """5 n log2 n for each transform of n points, halved where one side is real."""
    real = not (call.first.complex and call.out.complex)
    larger = max(call.first, call.out, key=lambda spec: (not spec.complex, spec.numel)) if real else call.out
    dims = call["dim"]
    axes = range(len(larger.shape)) if dims is None else [dims] if isinstance(dims, int) else dims
    points = prod(larger.shape[axis] for axis in axes)
    return _flat(round(larger.numel * 5 * log2(points) / (2 if real else 1)) if points > 1 else 0)


def _named(rule: Rule, names: str) -> dict[str, Rule]:
    return {"aten::" + name: rule for name in names.split()}


def _pools() -> dict[str, Rule]:
    rules: dict[str, Rule] = {}
    for n in (1, 2, 3):
        rules |= _named(pooling(n), f"avg_pool{n}d max_pool{n}d max_pool{n}d_with_indices")
        adaptive = f"adaptive_avg_pool{n}d adaptive_max_pool{n}d"
        rules |= _named(adaptive_pooling(n), adaptive)
    return rules


def _normalisations() -> dict[str, Rule]:
    return {
        **_named(
            batch_norm,
            "batch_norm native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training"
            " _batch_norm_impl_index cudnn_batch_norm",
        ),
        **_named(instance_norm, "instance_norm"),
        **_named(layer_norm, "layer_norm native_layer_norm"),
        **_named(group_norm, "group_norm native_group_norm"),
        **_named(rms_norm, "rms_norm _fused_rms_norm"),
        **_named(softmax, "softmax _softmax _safe_softmax"),
        **_named(log_softmax, "log_softmax _log_softmax"),
    }


def table() -> dict[str, Rule]:
    """Operator -> rule."""
    return {
        **_named(free, " ".join(FREE)),
        **dict.fromkeys(MARKS, free),
        **{k: v for n, names in POINTWISE.items() for k, v in _named(pointwise(n), names).items()},
        **_named(reduction, REDUCTIONS),
        **_named(clamp, "clamp clamp_min clamp_max clip"),
        **_named(gelu, "gelu"),
        **_named(deviation(False), "var var_mean"),
        **_named(deviation(True), "std std_mean"),
        **_named(norm, "norm linalg_vector_norm linalg_norm frobenius_norm"),
        **_named(log_sum_exp, "logsumexp"),
        **_normalisations(),
        **_pools(),
        **_named(adaptive_pooling(2), "_adaptive_avg_pool2d"),
        **_named(adaptive_pooling(3), "_adaptive_avg_pool3d"),
        **_named(interpolation(2), "upsample_linear1d"),
        **_named(interpolation(4), "upsample_bilinear2d"),
        **_named(interpolation(8), "upsample_trilinear3d"),
        **_named(interpolation(16), "upsample_bicubic2d"),
        **_named(antialiased(2), "_upsample_bilinear2d_aa"),
        **_named(antialiased(4), "_upsample_bicubic2d_aa"),
        **_named(antialiased(6), "_upsample_lanczos2d_aa"),
        **_named(weight_norm, "_weight_norm _weight_norm_interface"),
        **_named(grid_sample, "grid_sampler grid_sampler_2d grid_sampler_3d"),
        **_named(embedding_bag, "embedding_bag _embedding_bag _embedding_bag_forward_only"),
        **_named(scatter_sum, "index_add scatter_add scatter_reduce"),
        **_named(fold, "col2im"),
        **_named(sort, "sort argsort msort"),
        **_named(dropout, "dropout"),
        **_named(fourier, "fft_fft fft_ifft fft_fft2 fft_ifft2 fft_fftn fft_ifftn fft_rfft fft_irfft"),
        **_named(fourier, "fft_rfft2 fft_irfft2 fft_rfftn fft_irfftn _fft_r2c _fft_c2r _fft_c2c"),
    }
