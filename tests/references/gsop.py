"""GSoP-Net's block in each of its modes, from its equations, in NumPy."""

import copy

import numpy as np
import pytest
import torch

from attnbench.errors import UserError
from attnbench.mechanisms.base import Place
from attnbench.mechanisms.channel.gsop import GSoP, SecondOrderHead, square_root
from tests.references._layers import batch_norm, conv2d, linear, pointwise, relu, sigmoid

CASES = [
    {},
    {"dim": 8, "stride": 2},
    {"variant": "paper"},
    {"dim": 8, "mode": "spatial"},
    {"dim": 8, "mode": "average"},
    {"dim": 8, "mode": "max"},
    {"dim": 8, "mode": "concat"},
]
CHANNELS = 16
SIZE = (9, 5)
COUNTS = [
    (256, {}, 230_784),
    (512, {}, 394_880),
    (1024, {}, 723_072),
    (2048, {}, 1_379_456),
    (64, {"dim": 128}, 107_712),
    (64, {}, 4 * 64**2 + 9 * 64 + 5 * 64 * 64 + 64),
    (256, {"mode": "spatial"}, 256 * 128 + 3 * 128 + 128 + 256 * 64 + 256 + 256 * 64 + 64),
    (256, {"mode": "concat"}, 230_784 + 66_368 + 2 * (256 * 64 * 11 + 256) + 512),
]
ROWS = [(128,), (128,), (512, 1, 128, 1), (512,)]
OFFICIAL = [
    (256, {}, [(128, 256, 1, 1), (128,), (128,), (128,), *ROWS, (256, 512), (256,)]),
    (
        512,
        {"mode": "concat"},
        [
            *[(128, 512), (128,), (128,), (128,), *ROWS, (512, 512), (512,)],
            *[(128, 512), (128,), (128,), (128,), (64,), (64,), (256, 1, 64), (256,), (64, 256), (64,)],
            *[(512, 64, 9), (512,), (512, 64, 9), (512,), (512,), (512,)],
        ],
    ),
]


def row_gate(matrix, p, name, slope):
    z = batch_norm(matrix, p, f"{name}.norm", p["training"])
    weight = p[f"{name}.rows.weight"].reshape(z.shape[1], 4, z.shape[1])
    z = np.einsum("bij,ikj->bik", z, weight).reshape(len(z), -1) + p[f"{name}.rows.bias"]
    return sigmoid(linear(np.where(z > 0, z, slope * z), p, f"{name}.excite"))


def pooled(x, h, w):
    def bounds(n, size):
        return [(i * n // size, -(-(i + 1) * n // size)) for i in range(size)]

    rows, columns = bounds(x.shape[2], h), bounds(x.shape[3], w)
    return np.moveaxis(
        [[x[:, :, a:b, c:d].mean((2, 3)) for c, d in columns] for a, b in rows], (0, 1), (2, 3)
    )


def channel_gate(x, p, options):
    stride = options.get("stride", 1)
    v = pointwise(relu(x)[:, :, ::stride, ::stride], p, "channel.project")
    v = relu(batch_norm(v, p, "channel.norm", p["training"])).reshape(*v.shape[:2], -1)
    cov = np.array([np.cov(image, bias=True) for image in v])
    slope = 0.1 if options.get("variant") == "paper" else 1
    return row_gate(cov, p, "channel.gate", slope)[:, :, None, None]


def spatial_gate(x, p):
    v = batch_norm(pointwise(relu(x), p, "spatial.project"), p, "spatial.norm", p["training"])
    v = pooled(v, 8, 8).reshape(*v.shape[:2], 64)
    centring = np.eye(v.shape[1]) / 64 - np.ones((v.shape[1], v.shape[1])) / 64**2
    matrix = v.swapaxes(1, 2) @ centring @ v
    gate = row_gate(matrix, p, "spatial.gate", 0).reshape(-1, 1, 8, 8)
    return pooled(gate, *x.shape[2:])


def forward(x, p, options, training):
    p = {**p, "training": training}
    mode = options.get("mode", "channel")
    first = x * channel_gate(x, p, options) if mode != "spatial" else None
    second = relu(x * spatial_gate(x, p)) if mode != "channel" else None
    if mode in ("channel", "spatial"):
        return first if mode == "channel" else second
    if mode == "concat":
        half = p["concat.first.weight"].shape[2] // 2
        y = conv2d(first, p, "concat.first", (half, 0)) + conv2d(second, p, "concat.second", (half, 0))
        return batch_norm(y, p, "concat.norm", training)
    return first + second if mode == "average" else np.maximum(first, second)


def test_the_first_of_several_stages_is_strided():
    strides = [
        GSoP.at(Place("", 64, (8, 8), stage, stages)).channel.project.stride[0]
        for stage, stages in [(0, 4), (1, 4), (0, 1)]
    ]
    assert strides == [2, 1, 1]
    listed = {"dim": None, "mode": "channel", "stride": None}
    assert GSoP.at(Place("", 64, (8, 8), 0, 4), **listed).channel.project.stride == (2, 2)
    assert GSoP.at(Place("", 64, (8, 8), 0, 4), stride=1).channel.project.stride == (1, 1)


def test_narrow_maps_are_projected_to_no_more_channels_than_they_have_unless_told():
    assert GSoP(32).channel.project.out_channels == 32
    assert GSoP(32, dim=128).channel.project.out_channels == 128


@pytest.mark.parametrize(("channels", "length"), [(256, 11), (512, 9), (1024, 7), (2048, 5)])
def test_concat_convolutions_are_as_long_as_the_authors(channels, length):
    conv = GSoP(channels, mode="concat").concat.first
    assert conv.kernel_size == (length, 1) and conv.groups == channels // 64


def test_unknown_modes_and_variants_are_refused():
    with pytest.raises(UserError, match="spatial"):
        GSoP(16, mode="spacial")
    with pytest.raises(UserError, match="paper"):
        GSoP(16, variant="papers")


def test_half_precision_does_not_overflow_the_covariance():
    module = GSoP(16).eval()
    x = (torch.randn(2, 16, 9, 9) * 500).half()
    with torch.autocast("cpu", dtype=torch.float16):
        half = module.g(x)
    torch.testing.assert_close(half.float(), module.g(x.float()), rtol=3e-2, atol=3e-2)


def test_the_head_takes_the_root_of_the_covariance():
    head = SecondOrderHead(2048)
    assert sum(p.numel() for p in head.parameters()) == 2048 * 256 + 2 * 256
    assert head.eval()(torch.randn(1, 2048, 3, 3)).shape == (1, 32_896)


def test_the_head_reads_the_root_row_by_row_to_its_diagonal():
    head, x = SecondOrderHead(8, dim=4).eval(), torch.randn(2, 8, 5, 5)
    v = head.norm(head.project(x)).relu().flatten(2)
    root = square_root(torch.stack([torch.cov(image, correction=0) for image in v]), 3)
    by_hand = torch.stack([root[:, i, j] for i in range(4) for j in range(i + 1)], 1)
    torch.testing.assert_close(head(x), by_hand)


def test_many_steps_give_the_root():
    a = torch.randn(2, 8, 8, dtype=torch.float64)
    matrix = a @ a.transpose(1, 2) + torch.eye(8, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(matrix)
    root = vectors @ values.sqrt().diag_embed() @ vectors.transpose(1, 2)
    torch.testing.assert_close(square_root(matrix, 15), root)


def test_three_steps_of_the_root_are_those_of_the_recursion():
    a = np.random.default_rng(0).standard_normal((6, 6))
    matrix = a @ a.T
    y, z, eye = matrix / np.trace(matrix), np.eye(6), np.eye(6)
    for _ in range(3):
        y, z = y @ (3 * eye - z @ y) / 2, (3 * eye - z @ y) @ z / 2
    ours = square_root(torch.tensor(matrix)[None], 3)[0].numpy()
    np.testing.assert_allclose(ours, y * np.sqrt(np.trace(matrix)), rtol=1e-10)


def test_net2_has_blocks_in_all_stages_but_the_last_and_classifies_the_root():
    from attnbench import backbones
    from attnbench.grafting.graft import graft
    from tests.networks import backbone

    config = backbone("resnet18")
    network = backbones.build(config, 10, (3, 64, 64)).eval()
    *blocks, head = graft(network, "gsop", {}, config.sites["net2"], (3, 64, 64))
    assert [type(block).__name__ for block in blocks] == 3 * ["GSoP"]
    assert head.classify.weight.shape == (10, 32_896)
    x = torch.randn(2, 3, 64, 64)
    last = network.forward_intermediates(x, intermediates_only=True)[-1]
    torch.testing.assert_close(network(x), head.classify(head.pool(last)))
    torch.testing.assert_close(copy.deepcopy(network)(x), network(x))
    with pytest.raises(UserError, match="one position"):
        network(x[:, :, :32, :32])


def test_the_head_stays_finite_on_a_map_of_one_position():
    head, x = SecondOrderHead(8, dim=4).eval(), torch.randn(2, 8, 1, 1, requires_grad=True)
    y = head(x)
    y.sum().backward()
    assert y.isfinite().all() and x.grad.isfinite().all()
