"""Style-based recalibration, from its equations, in NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from attnbench.config.recipe import Optimizer
from attnbench.config.schema import Site
from attnbench.errors import UserError
from attnbench.grafting.graft import graft
from attnbench.mechanisms.channel.srm import SRM, Moments
from attnbench.training.optim import optimizer
from tests.references._layers import batch_norm, sigmoid

CASES = [{}]
BATCH = 3
COUNTS = [(64, {}, 256), (256, {}, 1_024), (512, {}, 2_048)]
OFFICIAL = (256, {}, [(256, 2), (256,), (256,)])


def forward(x, p, options, training):
    deviation = np.sqrt(x.var((2, 3), ddof=1) + 1e-5)
    z = p["styles"][:, 0] * x.mean((2, 3)) + p["styles"][:, 1] * deviation
    return x * sigmoid(batch_norm(z[:, :, None, None], p, "norm", training))


def test_a_fresh_gate_is_one_half():
    x = torch.randn(2, 8, 3, 3)
    assert torch.equal(SRM(8)(x), x / 2)


def test_all_parameters_are_kept_from_weight_decay():
    module = SRM(8)
    assert module.no_weight_decay() == {name for name, _ in module.named_parameters()}


def test_the_exclusion_reaches_the_optimizer():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8))
    (module,) = graft(model, "srm", {}, Site(after=["1"]), (3, 4, 4))
    groups = optimizer(model, Optimizer(weight_decay=0.1)).param_groups
    free = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
    assert free == {id(p) for p in module.parameters()}


def test_the_variance_is_that_of_large_means_too():
    module = SRM(4).eval()
    module.styles.data[:, 1] = 1
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(module.g(x + 300), module.g(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [(4, 3), (1, 2), (1, 1)])
def test_the_moments_have_the_gradients_of_their_differences(size):
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Moments.apply, x)


def test_one_position_has_no_deviation_and_stays_finite():
    module = SRM(4).eval()
    module.styles.data[:, 1] = 1
    assert torch.equal(module.g(torch.zeros(2, 4, 1, 1)), module.g(torch.full((2, 4, 1, 1), 5.0)))


def test_one_image_in_training_is_refused_in_words():
    with pytest.raises(UserError, match="2 images a batch"):
        SRM(8)(torch.randn(1, 8, 3, 3))


def test_half_precision_does_not_round_the_style():
    module = SRM(4).eval()
    module.styles.data[:, 1] = 1
    x = (torch.randn(2, 4, 56, 56) * 100).half()
    with torch.autocast("cpu", dtype=torch.float16):
        torch.testing.assert_close(module.g(x), module.float().g(x.float()).half())
