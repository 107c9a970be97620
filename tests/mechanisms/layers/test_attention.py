"""Attention by blocks of queries, against the matrix of all pairs written down."""

import pytest
import torch

from attnbench.mechanisms.layers import attention


def drawn(*shape):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize(("n", "m"), [(7, 5), (2 * attention.ROWS + 3, 9), (attention.ROWS, 300)])
def test_it_is_softmax_attention_with_its_gradients(n, m):
    tensors, dy = (drawn(2, n, 3), drawn(2, m, 3), drawn(2, m, 6)), drawn(2, n, 6).detach()
    q, k, v = tensors
    ours = attention.attend_rows(q, k, v, 0.7)
    plain = (0.7 * q @ k.transpose(1, 2)).softmax(2) @ v
    torch.testing.assert_close(ours, plain)
    for a, b in zip(torch.autograd.grad(ours, tensors, dy), torch.autograd.grad(plain, tensors, dy)):
        torch.testing.assert_close(a, b)


def test_compilers_see_one_operator():
    rules = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(
        attention.attend_rows, (drawn(2, 4, 3), drawn(2, 5, 3), drawn(2, 5, 6), 0.5), test_utils=rules
    )


@pytest.mark.parametrize(("d", "c"), [(4, 4), (3, 8), (8, 3)])
def test_widths_may_differ_and_autocast_changes_no_precision(d, c):
    q, k, v = drawn(1, d, 6).detach(), drawn(1, d, 5).detach(), drawn(1, c, 5).detach()
    expected = v @ (q.transpose(1, 2) @ k).softmax(2).transpose(1, 2)
    torch.testing.assert_close(attention.attend(q, k, v, 1.0), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        wide = attention.attend(q, k, v, 1.0)
    torch.testing.assert_close(wide, expected)


def test_no_matrix_of_all_pairs_is_kept():
    from attnbench.cost.measuring.memory import Storages

    q, k, v = (torch.randn(1, 4 * attention.ROWS, width, requires_grad=True) for width in (2, 2, 4))
    with Storages() as storages:
        attention.attend_rows(q, k, v, 1.0).sum().backward()
    assert storages.peak < 4 * (4 * attention.ROWS) ** 2 / 8
