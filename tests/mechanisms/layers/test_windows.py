"""Window attention by shifts against `unfold`, in values and gradients."""

import pytest
import torch
import torch.nn.functional as F

from attnbench.mechanisms.layers import windows


def drawn(*shape, seed=0):
    made = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return made.requires_grad_()


def unfolded(x, kernel, stride, h, w):
    return F.unfold(x.flatten(1, -3), kernel, stride=stride).view(*x.shape[:-2], kernel**2, h, w)


def equal_with_gradients(ours, plain, *inputs):
    results = []
    for function in (ours, plain):
        y = function(*inputs)
        weight = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
        results.append((y, *torch.autograd.grad((y * weight).sum(), inputs)))
    for a, b in zip(*results):
        torch.testing.assert_close(a, b)


SETTINGS = pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (7, 1), (3, 2), (5, 2)])


def sizes(kernel, stride):
    """Of the queries, and of the padded map, for a 6x5 map."""
    return [((n - 1) // stride + 1, n + kernel - 1) for n in (6, 5)]


@SETTINGS
def test_scores(kernel, stride):
    (h, padded_h), (w, padded_w) = sizes(kernel, stride)
    q, k = drawn(3, 2, 4, h, w), drawn(3, 2, 4, padded_h, padded_w, seed=1)
    equal_with_gradients(
        lambda q, k: windows.scores(q, k, kernel, stride),
        lambda q, k: (q[:, :, :, None] * unfolded(k, kernel, stride, h, w)).sum(2),
        *(q, k),
    )


@SETTINGS
def test_weighted_sum(kernel, stride):
    (h, padded_h), (w, padded_w) = sizes(kernel, stride)
    g, v = drawn(3, 2, kernel**2, h, w), drawn(3, 2, 4, padded_h, padded_w, seed=1)
    equal_with_gradients(
        lambda g, v: windows.weighted_sum(g, v, kernel, stride),
        lambda g, v: (g[:, :, None] * unfolded(v, kernel, stride, h, w)).sum(3),
        *(g, v),
    )


@SETTINGS
def test_neighbours(kernel, stride):
    (h, padded_h), (w, padded_w) = sizes(kernel, stride)
    equal_with_gradients(
        lambda x: windows.neighbours(x, kernel, stride),
        lambda x: unfolded(x, kernel, stride, h, w),
        drawn(3, 4, padded_h, padded_w),
    )


def test_parts_of_a_batch_give_what_the_whole_gives(monkeypatch):
    q, k = drawn(5, 2, 4, 6, 5).detach(), drawn(5, 2, 4, 8, 7, seed=1).detach()
    whole = windows.scores(q, k, 3)
    monkeypatch.setattr(windows, "PART", 2 * q[0].numel())
    assert torch.equal(windows.scores(q, k, 3), whole)


def test_operators_keep_torch_s_rules():
    q, k, x = drawn(2, 2, 3, 4, 5), drawn(2, 2, 3, 6, 7, seed=1), drawn(2, 3, 6, 7)
    rules = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.attnbench.window_scores.default, (q, k, 3, 1), test_utils=rules)
    torch.library.opcheck(
        torch.ops.attnbench.window_sum.default, (drawn(2, 2, 9, 4, 5), k, 3, 1), test_utils=rules
    )
    torch.library.opcheck(torch.ops.attnbench.window_neighbours.default, (x, 3, 1), test_utils=rules)
