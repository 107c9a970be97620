"""Squeeze-and-Excitation, from its equations, in NumPy."""

from tests.references._layers import linear, relu, sigmoid

CASES = [{}, {"bias": False}, {"reduction": 4}]
COUNTS = [
    (64, {}, 580),
    (256, {}, 8_464),
    (512, {}, 33_312),
    (64, {"bias": False}, 512),
    (256, {"bias": False}, 8_192),
    (512, {"bias": False}, 32_768),
]
ON_RESNET50 = [({}, 2_530_992), ({"bias": False}, 2_514_944)]
OFFICIAL = (256, {}, [(16, 256), (16,), (256, 16), (256,)])


def forward(x, p, options, training):
    z = relu(linear(x.mean((2, 3)), p, "reduce"))
    return x * sigmoid(linear(z, p, "expand"))[:, :, None, None]


def test_narrow_maps_keep_one_hidden_unit():
    from attnbench.mechanisms.channel.se import SE

    assert SE(8).reduce.weight.shape == (1, 8)
