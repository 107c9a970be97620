"""Asymmetric pyramid non-local block, from its equations, in NumPy."""

import numpy as np
import torch

from tests.references._layers import batch_norm, pointwise, relu, softmax

CASES = [{}, {"dropout": 0.5, "reduction": 4, "sizes": (1, 2)}]
CHANNELS = 16
COUNTS = [(512, {}, 920_576), (256, {}, 230_912)]
OFFICIAL = (
    512,
    {},
    [
        *[(256, 512), (256,), (256,), (256,), (256, 512), (256,), (512, 256), (512,)],
        *[(512, 1024), (512,), (512,), (512,)],
    ],
)


def pooled(x, sizes):
    """(b, c, tokens): means of the regions from floor(i n / s) to ceil((i + 1) n / s)."""
    h, w = x.shape[2:]
    return np.stack(
        [
            x[:, :, i * h // s : -(-(i + 1) * h // s), j * w // s : -(-(j + 1) * w // s)].mean((2, 3))
            for s in sizes
            for i in range(s)
            for j in range(s)
        ],
        2,
    )


def conv_norm_relu(x, p, name, training):
    return relu(batch_norm(pointwise(x, p, f"{name}.conv"), p, f"{name}.norm", training))


def kept(shape, dropout, training):
    """What dropout, which draws from torch's global generator next, is to multiply with."""
    with torch.random.fork_rng():
        return torch.nn.functional.dropout2d(
            torch.ones(shape, dtype=torch.float64), dropout, training
        ).numpy()


def attended(q, k, v):
    """(b, d, n), (b, d, m), (b, c, m) -> (b, c, n)."""
    a = softmax(np.einsum("bdn,bdm->bnm", q, k) / np.sqrt(q.shape[1]), 2)
    return np.einsum("bnm,bcm->bcn", a, v)


def forward(x, p, options, training):
    b, _, h, w = x.shape
    sizes = options.get("sizes", (1, 3, 6, 8))
    q = conv_norm_relu(x, p, "compare", training)
    v = pooled(pointwise(x, p, "value"), sizes)
    context = attended(q.reshape(b, -1, h * w), pooled(q, sizes), v).reshape(b, -1, h, w)
    both = np.concatenate([pointwise(context, p, "context"), x], 1)
    return conv_norm_relu(both, p, "fuse", training) * kept(x.shape, options.get("dropout", 0.05), training)


def test_the_context_is_nothing_at_the_start():
    from attnbench.checks import suite
    from attnbench.mechanisms.spatial.apnb import APNB

    case = suite.Case(APNB, channels=16)
    module, x = case.fresh().eval(), case.x().float()
    conv = module.fuse.conv
    alone = module.fuse.finish(torch.nn.functional.conv2d(x, conv.weight[:, 16:], conv.bias))
    torch.testing.assert_close(module(x), alone)


def test_a_position_attends_to_110_means():
    from attnbench.checks import suite
    from attnbench.mechanisms.spatial.apnb import APNB

    case = suite.Case(APNB, channels=16)
    assert case.trained().g(case.x()).shape == (2, 35, 110)


def test_wide_maps_and_narrow_ones_take_different_ways_to_the_same():
    from attnbench.checks import suite
    from attnbench.mechanisms.spatial.apnb import APNB

    for channels in (16, 112):
        suite.equation(suite.Case(APNB, channels=channels))
