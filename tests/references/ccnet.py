"""Criss-cross attention, from its equations, in NumPy."""

import numpy as np
import torch
import torch.nn.functional as F

from tests.references._layers import pointwise, softmax

CASES = [{}, {"recurrence": 1}, {"recurrence": 3, "reduction": 4}]
CHANNELS = 16
COUNTS = [(256, {}, 82_241), (512, {}, 328_321)]
OFFICIAL = (256, {}, [(1,), (32, 256), (32,), (32, 256), (32,), (256, 256), (256,)])


def once(x, p):
    q, k, v = (pointwise(x, p, name) for name in ("query", "key", "value"))
    y = np.zeros_like(x)
    h, w = x.shape[2:]
    for i in range(h):
        for j in range(w):
            cross = [(r, j) for r in range(h) if r != i] + [(i, s) for s in range(w)]
            keys, values = (np.stack([t[:, :, r, s] for r, s in cross], 2) for t in (k, v))
            a = softmax(np.einsum("bd,bdn->bn", q[:, :, i, j], keys), 1)
            y[:, :, i, j] = np.einsum("bn,bcn->bc", a, values)
    return p["gamma"] * y + x


def forward(x, p, options, training):
    for _ in range(options.get("recurrence", 2)):
        x = once(x, p)
    return x


def drawn(**options):
    from attnbench.checks import suite
    from attnbench.mechanisms.spatial.ccnet import CCNet

    case = suite.Case(CCNet, options, channels=16, size=(6, 4))
    return case.trained(), case.x()


def test_a_position_counts_once_and_only_row_and_column_count():
    module, x = drawn(recurrence=1)
    g = module.g(x)[:, 0]
    torch.testing.assert_close(g.sum(3), torch.ones_like(g[..., 0]))
    assert (g[:, range(6), :, range(6)] == 0).all()
    assert (g[..., 6:] > 0).all()


def test_two_rounds_carry_a_corner_to_every_position_and_one_does_not():
    for recurrence, all_positions in ((1, False), (2, True)):
        module, x = drawn(recurrence=recurrence)
        (module(x)[0, :, 5, 3]).sum().backward()
        assert bool((x.grad[0].abs().amax(0) > 0).all()) is all_positions


def test_gradients_are_those_of_attention_with_a_dense_mask():
    module, x = drawn(recurrence=1)
    y = x.detach().clone().requires_grad_()
    module(x).square().sum().backward()
    rows, columns = torch.meshgrid(torch.arange(6), torch.arange(4), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    mask = (rows[:, None] == rows) | (columns[:, None] == columns)
    q, k, v = (layer(y).flatten(2).transpose(1, 2) for layer in (module.query, module.key, module.value))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
    (module.gamma * out.transpose(1, 2).unflatten(2, (6, 4)) + y).square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
