"""Concurrent spatial and channel squeeze and excitation, from its equations, in NumPy."""

import numpy as np
import pytest
import torch

from attnbench.checks import suite
from attnbench.errors import UserError
from attnbench.mechanisms.channel_spatial.scse import ScSE
from tests.references._layers import linear, pointwise, relu, sigmoid

CASES = [{}, {"fuse": "multiply"}, {"fuse": "channel"}, {"fuse": "spatial"}, {"reduction": 16}]
CHANNELS = 32
COUNTS = [(64, {}, 4_257), (256, {}, 66_177)]
OFFICIAL = (256, {}, [(128, 256), (128,), (256, 128), (256,), (1, 256), (1,)])
FUSED = {"max": np.maximum, "add": np.add}


def forward(x, p, options, training):
    fuse = options.get("fuse", "max")
    s = q = 1
    if fuse != "spatial":
        s = sigmoid(linear(relu(linear(x.mean((2, 3)), p, "reduce")), p, "expand"))[:, :, None, None]
    if fuse != "channel":
        q = sigmoid(pointwise(x, p, "score"))
    return FUSED[fuse](x * s, x * q) if fuse in FUSED else x * s * q


@pytest.mark.parametrize("check", [check for check in suite.CHECKS if check is not suite.gate])
def test_the_sum_keeps_every_check_but_the_range_of_a_gate(check):
    check(suite.Case(ScSE, {"fuse": "add"}, channels=16))


def test_the_sum_is_that_of_both_products():
    case = suite.Case(ScSE, {"fuse": "add"}, channels=16)
    module, x = case.trained(), case.x().detach()
    state = {key: value.numpy() for key, value in module.state_dict().items()}
    np.testing.assert_allclose(
        module(x).detach().numpy(), forward(x.numpy(), state, case.options, True), rtol=1e-9
    )
    assert 1 < module.g(x).max() <= 2


def test_the_maximum_is_that_of_the_products_not_of_the_gates():
    module = ScSE(1, reduction=1).eval()
    with torch.no_grad():
        for name, value in {"reduce": 0.0, "expand": 0.0, "score": 0.0}.items():
            getattr(module, name).weight.fill_(value)
            getattr(module, name).bias.fill_(value)
        module.score.bias.fill_(2.0)
    y = module(torch.tensor([[[[1.0, -1.0]]]])).detach()
    torch.testing.assert_close(y, torch.tensor([[[[sigmoid(2.0), -0.5]]]], dtype=torch.float32))


def test_an_unknown_fusion_is_refused():
    with pytest.raises(UserError, match="max"):
        ScSE(16, fuse="maks")
