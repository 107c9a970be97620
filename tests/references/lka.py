"""Large kernel attention, from its equations, in NumPy."""

import pytest
import torch

from attnbench.checks.suite import Case
from attnbench.mechanisms.channel_spatial.lka import LKA
from tests.references._layers import conv2d, pointwise

CASES = [{}]
CHANNELS = 16
COUNTS = [(64, {}, 9_024), (256, {}, 256 * 256 + 77 * 256)]
OFFICIAL = (64, {}, [(64, 1, 5, 5), (64,), (64, 1, 7, 7), (64,), (64, 64, 1, 1), (64,)])
WAIVED = {"half": "the output grows with the square of x: 1000 becomes more than float16 can hold"}


def forward(x, p, options, training):
    c = x.shape[1]
    z = conv2d(x, p, "local", padding=2, groups=c)
    z = conv2d(z, p, "dilated", padding=9, dilation=3, groups=c)
    return x * pointwise(z, p, "mix")


@pytest.mark.parametrize(
    ("dtype", "scale"), [(torch.float16, 1.0), (torch.bfloat16, 1.0), (torch.bfloat16, 1e3)]
)
def test_half_precision_holds_what_fits(dtype, scale):
    case = Case(LKA, channels=16)
    module, x = case.fresh().eval(), (case.x().detach() * scale).to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        y = module(x)
    assert y.dtype == dtype and y.isfinite().all()


def test_it_sees_twelve_positions_away_and_no_further():
    module = Case(LKA, channels=16).trained()
    x = torch.zeros(1, 16, 1, 31, dtype=torch.float64)
    away = x.clone()
    away[..., 15] = 1
    changed = (module.g(away) - module.g(x)).abs().amax((0, 1, 2)) > 0
    assert changed.nonzero().flatten().tolist() == list(range(15 - 11, 15 + 12))
