"""Global reasoning over a graph of nodes, from its equations, in NumPy."""

import numpy as np

from tests.references._layers import batch_norm, linear, pointwise, relu

CASES = [{}, {"normalize": True}, {"reduction": 2}]
CHANNELS = 32
COUNTS = [(256, {}, 103_168), (512, {}, 411_136), (1024, {}, 1_641_472)]
OFFICIAL = (
    256,
    {},
    [(128, 256), (128,), (64, 256), (64,), (64, 64), (64,), (128, 128), (256, 128), (256,), (256,)],
)


def forward(x, p, options, training):
    b, _, h, w = x.shape
    states, carry = (pointwise(x, p, name).reshape(b, -1, h * w) for name in ("state", "project"))
    v = np.einsum("bsi,bni->bsn", states, carry)
    if options.get("normalize"):
        v = v / (h * w)
    v = relu(v + linear(v, {k: a.squeeze(-1) if a.ndim == 3 else a for k, a in p.items()}, "relate"))
    v = np.einsum("ts,bsn->btn", p["update.weight"][:, :, 0], v)
    y = np.einsum("bsn,bni->bsi", v, carry).reshape(b, -1, h, w)
    return x + batch_norm(pointwise(y, p, "extend"), p, "norm", training, eps=1e-4)
