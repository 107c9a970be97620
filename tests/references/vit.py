"""ViT's encoder block, from its equations, in NumPy."""

import math

import numpy as np
import pytest
import torch

from tests.references._layers import linear, softmax

CASES = [{}, {"width": 8}, {"width": 8, "mlp": 4}, {"mlp": 2, "tanh": False}]
CHANNELS = 32
COUNTS = [(256, {}, 263_168 + 512), (192, {"mlp": 4}, 12 * 192**2 + 13 * 192)]
OFFICIAL = (
    256,
    {"mlp": 4},
    [
        *[(256,), (256,), (768, 256), (768,), (256, 256), (256,)],
        *[(256,), (256,), (1024, 256), (1024,), (256, 1024), (256,)],
    ],
)


def layer_norm(t, p, name):
    centred = t - t.mean(-1, keepdims=True)
    t = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return t * p[f"{name}.weight"] + p[f"{name}.bias"]


def gelu(z, tanh):
    if tanh:
        return z / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
    return z / 2 * (1 + np.vectorize(math.erf)(z / math.sqrt(2)))


def forward(x, p, options, training):
    b, c, h, w = x.shape
    heads = max(c // options.get("width", 64), 1)
    t = np.moveaxis(x.reshape(b, c, h * w), 1, 2)
    q, k, v = np.split(linear(layer_norm(t, p, "norm"), p, "qkv"), 3, 2)
    gathered = []
    for part in np.split(np.arange(c), heads):
        scores = np.einsum("bid,bjd->bij", q[..., part], k[..., part]) / math.sqrt(len(part))
        gathered.append(softmax(scores, 2) @ v[..., part])
    t = t + linear(np.concatenate(gathered, 2), p, "project")
    if options.get("mlp"):
        hidden = gelu(linear(layer_norm(t, p, "mlp.0"), p, "mlp.1"), options.get("tanh", True))
        t = t + linear(hidden, p, "mlp.3")
    return np.moveaxis(t, 2, 1).reshape(x.shape)


def test_positions_are_a_set():
    """Without a position embedding, shuffled positions give the outputs in the same order."""
    from attnbench.checks import suite
    from attnbench.mechanisms.spatial.vit import ViT

    case = suite.Case(ViT, channels=16)
    module, x = case.trained(), case.x().detach()
    order = torch.randperm(35, generator=torch.Generator().manual_seed(0))

    def shuffled(t):
        return t.flatten(2)[..., order].unflatten(2, (7, 5))

    torch.testing.assert_close(module(shuffled(x)), shuffled(module(x)))


def test_channels_that_no_heads_divide_are_refused():
    from attnbench.errors import Impossible
    from attnbench.mechanisms.spatial.vit import ViT

    with pytest.raises(Impossible, match="130 channels do not divide into 4 heads"):
        ViT(130, width=32)
