"""Residual attention, from its equations, in NumPy; and the networks made of it."""

import numpy as np
import pytest
import torch

from attnbench.backbones import build
from attnbench.config.schema import Backbone
from attnbench.errors import UserError
from attnbench.mechanisms.channel_spatial.residual_attention import ResidualAttention, fitting
from tests.references._layers import batch_norm, bilinear, conv2d, relu, sigmoid

CASES = [{}, {"poolings": 3}, {"poolings": 2, "trunk": True}]
CHANNELS = 32
SIZE = (13, 9)
COUNTS = [
    (256, {"trunk": True, "poolings": 3}, 976_896),
    (512, {"trunk": True, "poolings": 2}, 3_046_912),
    (1024, {"trunk": True, "poolings": 1}, 8_804_352),
]
UNIT = [(64,), (64,), (16, 64), (16,), (16,), (16, 16, 3, 3), (16,), (16,), (64, 16)]
HEAD = [(64,), (64,), (64, 64), (64,), (64,), (64, 64)]
OFFICIAL = (64, {"trunk": True, "poolings": 1}, [*UNIT * 5, *HEAD, *UNIT])


def forward(x, p, options, training):
    def layer(z, name, padding=0):
        return conv2d(relu(batch_norm(z, p, f"{name}.0", training)), p, f"{name}.2", padding=padding)

    def unit(z, name):
        y = conv2d(relu(batch_norm(z, p, f"{name}.norm", training)), p, f"{name}.reduce")
        return z + layer(layer(y, f"{name}.spread", 1), f"{name}.expand")

    def hourglass(z, name, poolings):
        d = unit(caffe_pool(z), f"{name}.down")
        if poolings > 1:
            d = hourglass(d, f"{name}.inner", poolings - 1) + unit(d, f"{name}.skip")
        return bilinear(unit(d, f"{name}.up"), *z.shape[2:])

    whole = options.get("trunk", False)
    x = unit(x, "before") if whole else x
    z = hourglass(x, "hourglass", options.get("poolings", 1))
    for i in (0, 3):
        z = conv2d(relu(batch_norm(z, p, f"mask.{i}", training)), p, f"mask.{i + 2}")
    trunk = unit(unit(x, "trunk.0"), "trunk.1") if whole else x
    y = trunk + trunk * sigmoid(z)
    return unit(y, "behind") if whole else y


def caffe_pool(x):
    """Largest values of 3x3 windows, two apart, the last ones cut off at the border; none lies outside."""
    h, w = (-(-max(n - 3, 0) // 2) + 1 for n in x.shape[2:])
    rows = [x[:, :, 2 * i : 2 * i + 3].max(2) for i in range(h)]
    return np.stack(
        [np.stack([row[..., 2 * j : 2 * j + 3].max(-1) for j in range(w)], -1) for row in rows], 2
    )


@pytest.mark.parametrize(
    ("side", "poolings"), [(56, 3), (28, 2), (14, 1), (7, 1), (32, 2), (16, 1), (8, 1), (1, 1)]
)
def test_the_number_of_poolings_is_the_authors_for_their_maps(side, poolings):
    assert fitting(side) == poolings


def test_pooling_cuts_windows_off_without_padding():
    x = -torch.rand(1, 2, 7, 14).double() - 1
    assert caffe_pool(x.numpy()).shape == (1, 2, 3, 7)
    assert (ResidualAttention(2).double().eval()(x) < 0).all()


@pytest.mark.parametrize(("modules", "count"), [([1, 1, 1], 31_810_728), ([1, 2, 3], 52_466_344)])
def test_the_networks_have_the_published_counts(modules, count):
    with torch.device("meta"):
        network = build(backbone(modules=modules), 1000, (3, 224, 224))
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_a_narrow_network_runs_on_small_images(stem):
    network = build(backbone(stem=stem, modules=[1, 1, 2], width=4), 10, (1, 32, 32))
    network(torch.randn(2, 1, 32, 32)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize(
    "settings", [{"modules": [1, 2]}, {"modules": [0, 1, 1]}, {"modules": [1] * 3, "stem": "big"}]
)
def test_networks_that_do_not_exist_are_refused(settings):
    with pytest.raises(UserError, match=r"modules|stem"):
        build(backbone(**settings), 10, (3, 32, 32))


def backbone(stem="imagenet", **args):
    return Backbone(name="attention", source="residual_attention", stem=stem, args=args)
