"""Controls of equal cost: their equations, the public checks, and that no table of the survey counts them."""

import numpy as np
import pytest
import torch

from attnbench import mechanisms
from attnbench.checks import suite
from attnbench.checks.suite import Case
from attnbench.grafting.attached import inside
from attnbench.mechanisms.base import Place
from attnbench.running import build
from attnbench.sweeping import words
from attnbench.sweeping.experiment import cell

MODULES = ("static", "pointwise", "mlp", "large_kernels", "temporal_conv")  # those that stand at places


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


def large_kernels(x, p):
    wide = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)))
    windows = np.lib.stride_tricks.sliding_window_view(wide, (5, 5), (2, 3))
    return np.einsum("dcij,bchwij->bdhw", p["conv.weight"], windows)


def temporal_conv(x, p):
    wide = np.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)))
    y = sum(
        np.einsum("dc,btchw->btdhw", p["conv.weight"][:, :, k, 0], wide[:, k : k + x.shape[1]])
        for k in range(3)
    )
    mean, var, gain, bias = (
        p[f"norm.{name}"][:, None, None] for name in ("running_mean", "running_var", "weight", "bias")
    )
    return x + (y - mean) / np.sqrt(var + 1e-5) * gain + bias


@pytest.mark.parametrize(
    "equation", [static, pointwise, mlp, large_kernels, temporal_conv], ids=lambda f: f.__name__
)
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


def test_an_mlp_instead_of_a_classifier_is_one_with_a_hidden_layer():
    network = build(cell(["data=cifar10", "backbone=resnet8", "attn=mlp", "site=gates"]))
    head, x = inside(network.fc), torch.randn(3, 64)
    hidden = (x @ head.hide.weight.T + head.hide.bias).relu()
    torch.testing.assert_close(head(x), hidden @ head.classify.weight.T + head.classify.bias)
    assert hidden.shape == (3, 64) and head(x).shape == (3, 10)
    assert (network(torch.randn(2, 3, 32, 32)).shape) == (2, 10)


@pytest.mark.parametrize(("more", "side"), [(1, 5), (2, 7)])
def test_larger_kernels_keep_the_stride_and_size_of_the_convolution_they_stand_for(more, side):
    conv = torch.nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
    module = mechanisms.load("large_kernels").at(Place("conv", 8, (9, 7), replaces=conv), more=more)
    x = torch.randn(2, 8, 9, 7)
    assert module(x).shape == conv(x).shape
    assert module.conv.kernel_size == (side, side)
