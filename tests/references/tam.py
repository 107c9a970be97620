"""TAM, from its equations, in NumPy."""

import numpy as np
import pytest
import torch

from attnbench.checks.case import Case
from attnbench.errors import Impossible, UserError
from attnbench.mechanisms.base import Place
from attnbench.mechanisms.temporal.tam import TAM
from tests.references._layers import batch_norm, linear, pointwise, relu, sigmoid, softmax
from tests.references._recurrent import conv1d

CASES = [{}, {"kernel": 5, "expand": 3, "reduction": 2}]
CHANNELS = 16
COUNTS = [(64, {}, 4_336), (256, {}, 65_872), (512, {}, 262_608)]
OFFICIAL = (64, {}, [(16, 8), (16,), (16,), (3, 16), (16, 64, 3), (16,), (16,), (64, 16)])


def forward(x, p, options, training):
    b, t, c = x.shape[:3]
    k = options.get("kernel", 3)
    q = x.mean((3, 4)).swapaxes(1, 2)
    z = relu(batch_norm(linear(q.reshape(b * c, t), p, "kernels.0"), p, "kernels.1", training))
    theta = softmax(linear(z, p, "kernels.3"), 1).reshape(b, c, k)
    z = relu(batch_norm(conv1d(q, p, "weights.0", k // 2), p, "weights.1", training))
    local = x * sigmoid(pointwise(z, p, "weights.3")).swapaxes(1, 2)[..., None, None]
    y = np.zeros_like(x)
    for out in range(t):
        for tap in range(k):
            if 0 <= (at := out + tap - k // 2) < t:
                y[:, out] += theta[:, :, tap, None, None] * local[:, at]
    return y


def test_frames_are_baked_in():
    module = TAM(8, frames=8)
    with pytest.raises(UserError, match="a clip of 4 frames came, built for 8"):
        module(torch.randn(2, 4, 8, 3, 3))
    with pytest.raises(Impossible, match="a kernel of 3 frames on a clip of 2"):
        TAM(8, frames=2)
    with pytest.raises(Impossible, match="needs clips"):
        TAM.at(Place("probe", 8, (4, 4)))


def test_the_kernel_is_common_to_all_frames_of_a_clip_and_adds_up_to_one():
    case = Case(TAM, channels=8)
    module, x = case.trained().eval(), case.x()
    means = x.mean((3, 4)).transpose(1, 2)
    local = torch.sigmoid(module.weights(means)).transpose(1, 2)
    middle = module.g(x)[..., 1] / local
    torch.testing.assert_close(middle, middle[:, :1].expand_as(middle))
    shares = module.kernels(means.flatten(0, 1)).softmax(1)
    torch.testing.assert_close(shares.sum(1), torch.ones(16, dtype=torch.float64))
