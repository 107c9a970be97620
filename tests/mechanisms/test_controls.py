"""Controls of equal cost: their equations, the public checks, and that no table of the survey counts them."""

import numpy as np
import pytest
import torch

from attnbench import mechanisms
from attnbench.checks import suite
from attnbench.checks.suite import Case
from attnbench.sweeping import words

MODULES = ("static", "pointwise", "mlp")  # those that stand at places


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def static(x, p):
    return sigmoid(p["weight"])[None, :, None, None] * x


def pointwise(x, p):
    y = np.einsum("dc,bchw->bdhw", p["conv.weight"][:, :, 0, 0], x)
    mean, var, gain, bias = (
        p[f"norm.{name}"][None, :, None, None] for name in ("running_mean", "running_var", "weight", "bias")
    )
    return x + (y - mean) / np.sqrt(var + 1e-5) * gain + bias


def mlp(x, p):
    hidden = np.maximum(x.mean((2, 3)) @ p["reduce.weight"].T + p["reduce.bias"], 0)
    return x + (hidden @ p["expand.weight"].T + p["expand.bias"])[:, :, None, None]


@pytest.mark.parametrize("equation", [static, pointwise, mlp], ids=lambda f: f.__name__)
def test_equations(equation):
    case = Case(mechanisms.load(equation.__name__))
    module, x = case.trained().eval(), case.x().detach()
    state = {key: value.numpy() for key, value in module.state_dict().items()}
    np.testing.assert_allclose(module(x).detach().numpy(), equation(x.numpy(), state), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("check", suite.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", MODULES)
def test_checks(name, check):
    check(Case(mechanisms.load(name)))


def test_a_static_gate_is_the_same_for_every_input_and_starts_at_one_half():
    gate = mechanisms.load("static")(8)
    assert torch.equal(gate.g(torch.randn(2, 8, 3, 3)), torch.full((1, 8, 1, 1), 0.5))


def test_controls_are_known_by_name_and_in_no_category_of_the_survey():
    assert set(mechanisms.controls()) == {*MODULES, "wide", "deep"}
    assert not set(mechanisms.controls()) & set(mechanisms.entries())
    assert mechanisms.CONTROL not in mechanisms.CATEGORIES
    assert set(words.expand("control")) == set(MODULES)
    assert not set(words.expand("all")) & set(mechanisms.controls())
    assert mechanisms.entry("static").category == "control"
