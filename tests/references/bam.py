"""BAM, from its equations, in NumPy."""

import pytest

from tests.references._layers import batch_norm, conv2d, linear, relu, sigmoid

CASES = [{}, {"fuse": "sum"}, {"reduction": 8, "dilation": 2}]
COUNTS = [(256, {}, 17_361), (512, {}, 68_513), (1024, {}, 272_193)]
OFFICIAL = (
    256,
    {},
    [
        *[(16, 256), (16,), (16,), (16,), (256, 16), (256,)],
        *[(16, 256), (16,), (16,), (16,)],
        *[(16, 16, 3, 3), (16,), (16,), (16,)] * 2,
        *[(1, 16), (1,)],
    ],
)


def forward(x, p, options, training):
    d = options.get("dilation", 4)
    z = relu(batch_norm(linear(x.mean((2, 3)), p, "reduce"), p, "norm", training))
    channel = linear(z, p, "expand")[:, :, None, None]
    s = relu(batch_norm(conv2d(x, p, "spatial.0"), p, "spatial.1", training))
    s = relu(batch_norm(conv2d(s, p, "spatial.3", d, d), p, "spatial.4", training))
    s = relu(batch_norm(conv2d(s, p, "spatial.6", d, d), p, "spatial.7", training))
    spatial = conv2d(s, p, "spatial.9")
    return x * (1 + sigmoid(channel + spatial if options.get("fuse") == "sum" else channel * spatial))


def test_one_image_in_training_is_refused_in_words():
    import torch

    from attnbench.errors import UserError
    from attnbench.mechanisms.channel_spatial.bam import BAM

    with pytest.raises(UserError, match="at least 2 images"):
        BAM(16)(torch.randn(1, 16, 5, 5))


def test_an_unknown_fusion_is_refused():
    from attnbench.errors import UserError
    from attnbench.mechanisms.channel_spatial.bam import BAM

    with pytest.raises(UserError, match="did you mean product"):
        BAM(16, fuse="prodct")


@pytest.mark.parametrize("size", [(9, 4), (3, 11)])
def test_maps_need_not_be_square(size):
    """The released code pools with a square kernel, and fails on them."""
    import torch

    from attnbench.mechanisms.channel_spatial.bam import BAM

    module, x = BAM(16).eval(), torch.randn(2, 16, *size)
    channel = module.expand(module.norm(module.reduce(x.mean((2, 3)))[:, :, None, None]).relu().flatten(1))
    torch.testing.assert_close(module.channel(x).flatten(1), channel)
    assert module(x).shape == x.shape and module.spatial(x).shape == (2, 1, *size)
