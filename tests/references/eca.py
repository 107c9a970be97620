"""Efficient Channel Attention, from its equations, in NumPy."""

import numpy as np
import pytest

from tests.references._layers import sigmoid

CASES = [{}, {"kernels": "k7"}, {"kernels": "mobilenet"}, {"kernels": "k3557"}]
COUNTS = [
    *((c, {}, k) for c, k in {16: 3, 64: 3, 96: 3, 128: 5, 256: 5, 512: 5, 1024: 5, 2048: 7}.items()),
    (64, {"kernels": "mobilenet"}, 1),
    (96, {"kernels": "mobilenet"}, 3),
    (256, {"kernels": "k3"}, 3),
]
OFFICIAL = (256, {"kernels": "k3"}, [(1, 1, 3)])
ON_RESNET50 = [({"kernels": "k3557"}, 80), ({}, 86)]


def forward(x, p, options, training):
    kernel = p["conv.weight"][0, 0]
    means = np.pad(x.mean((2, 3)), ((0, 0), (len(kernel) // 2, len(kernel) // 2)))
    z = np.stack([window @ kernel for window in np.moveaxis(windows(means, len(kernel)), 1, 0)], 1)
    return x * sigmoid(z)[:, :, None, None]


def windows(z, k):
    return np.lib.stride_tricks.sliding_window_view(z, k, axis=1)


@pytest.mark.parametrize("kernels", ["k4", "k", "3", "rules", "k35x7"])
def test_a_kernel_that_means_nothing_is_refused(kernels):
    from attnbench.errors import UserError
    from attnbench.mechanisms.channel.eca import ECA

    with pytest.raises(UserError, match="odd digits"):
        ECA(64, kernels=kernels)


def test_kernels_of_stages_need_a_place_of_one_of_them():
    from attnbench.errors import UserError
    from attnbench.mechanisms.base import Place
    from attnbench.mechanisms.channel.eca import ECA

    with pytest.raises(UserError, match="one kernel a stage"):
        ECA(64, kernels="k35")
    with pytest.raises(UserError, match="layer3 is in one more"):
        ECA.at(Place("layer3", 64, (7, 7), stage=2, stages=3), kernels="k35")


def test_nothing_is_added_to_the_product():
    import torch

    from attnbench.mechanisms.channel.eca import ECA

    x = torch.ones(1, 64, 3, 3)
    assert ECA(64)(x).max() < 1
