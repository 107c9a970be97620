"""The plain forms that mechanisms are timed against compute the same, values and gradients, in float64."""

import copy

import pytest
import torch

from attnbench.checks.case import Case, seeded
from attnbench.checks.suite import WIDTHS
from attnbench.mechanisms import entries, load
from benchmarks.plain import Plain, form

NAMES = [name for name in entries() if form(name) is not None]
SMALL, LARGE = {"size": (7, 9)}, {"size": (33, 32), "channels": 16}
WIDE = {"size": (4, 4), "channels": max(WIDTHS)}


def derived(module, x, weights):
    """The output, and the gradients of the input and of all parameters."""
    x = x.detach().clone().requires_grad_()
    with seeded(0):
        y = module(x)
    (y * weights).sum().backward()
    return y, x.grad, *(p.grad for p in module.parameters())


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("maps", [SMALL, LARGE, WIDE], ids=["small", "large", "wide"])
@pytest.mark.parametrize("name", NAMES)
def test_ours_is_the_plain_form(name, maps, training):
    case = Case(load(name), **maps)
    ours = case.trained().train(training)
    plain = Plain(copy.deepcopy(ours), form(name))
    x, weights = case.x(), case.x(2).detach()
    for a, b in zip(derived(ours, x, weights), derived(plain, x, weights), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def test_what_plain_forms_share_is_no_mechanism():
    assert form("se") is not None and form("weighed") is None
