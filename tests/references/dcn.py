"""Deformable convolution, from its equations, in NumPy."""

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.ops import deform_conv2d

from attnbench.backbones.cifar_resnet import build
from attnbench.checks.suite import Case, randomise
from attnbench.config.schema import Site
from attnbench.errors import UserError
from attnbench.grafting.graft import graft
from attnbench.mechanisms.base import Place
from attnbench.mechanisms.spatial.dcn import DCN
from tests.references._layers import conv2d, sigmoid

CASES = [{}, {"version": 1}, {"groups": 2}, {"variant": "paper"}]
CHANNELS = 8
COUNTS = [
    (256, {"version": 1}, 631_314),
    (256, {"version": 1, "groups": 4}, 755_784),
    (256, {}, 652_059),
    (512, {"version": 1}, 2_442_258),
    (512, {}, 2_483_739),
]
OFFICIAL = (256, {}, [(27, 256, 3, 3), (27,), (256, 256, 3, 3)])


def forward(x, p, options, training):
    groups = options.get("groups", 1)
    z = conv2d(x, p, "offset", padding=1)
    offsets = z[:, : 18 * groups].reshape(len(x), groups, 9, 2, *x.shape[2:])
    masks = np.ones(offsets[:, :, :, 0].shape)
    if options.get("version", 2) == 2:
        most = 1 if options.get("variant") == "paper" else 2
        masks = most * sigmoid(z[:, 18 * groups :]).reshape(masks.shape)
    return np.stack([convolved(*parts, p["conv.weight"]) for parts in zip(x, offsets, masks)])


def convolved(image, offsets, masks, weight):
    """One image (c, h, w), tap by tap; offsets (groups, 9, 2, h, w)."""
    h, w = image.shape[1:]
    grid = np.mgrid[:h, :w]
    y = np.zeros((len(weight), h, w))
    for tap in range(9):
        at = grid + np.array(divmod(tap, 3)).reshape(2, 1, 1) - 1 + offsets[:, tap]
        read = [between(part, *where) for part, where in zip(np.split(image, len(at)), at)]
        scaled = [part * mask for part, mask in zip(read, masks[:, tap])]
        y += np.einsum("chw,dc->dhw", np.concatenate(scaled), weight[:, :, tap // 3, tap % 3])
    return y


def between(image, rows, columns):
    """(c, h, w) read at points (h, w) by bilinear interpolation; zeros outside."""
    total = np.zeros((len(image), *rows.shape))
    for i in range(image.shape[1]):
        for j in range(image.shape[2]):
            share = np.maximum(1 - abs(rows - i), 0) * np.maximum(1 - abs(columns - j), 0)
            total += image[:, i, j, None, None] * share
    return total


SETTINGS = [
    {"padding": 1},
    {"stride": 2, "padding": 1, "bias": False},
    {"dilation": 2, "padding": 2},
    {"groups": 4, "padding": 1},
    {"kernel_size": (5, 3), "padding": (2, 1)},
]


def place(conv):
    return Place("conv", conv.in_channels, (9, 8), replaces=conv)


@pytest.mark.parametrize("settings", SETTINGS)
def test_it_starts_as_the_convolution_that_it_replaces(settings):
    conv = nn.Conv2d(8, 12, **{"kernel_size": 3, **settings})
    x = torch.randn(2, 8, 9, 8)
    for options in ({}, {"version": 1}, {"groups": 2}):
        torch.testing.assert_close(DCN.at(place(conv), **options)(x), conv(x), rtol=1e-4, atol=1e-5)


def test_masks_of_the_paper_start_at_one_half():
    conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
    x = torch.randn(2, 8, 9, 8)
    y = DCN.at(place(conv), variant="paper")(x)
    torch.testing.assert_close(y, conv(x) / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", SETTINGS)
def test_torchvision_reads_the_same(settings):
    conv = nn.Conv2d(8, 12, **{"kernel_size": 3, **settings})
    module = randomise(DCN.at(place(conv), groups=2)).double()
    x = torch.randn(2, 8, 9, 8, dtype=torch.float64, requires_grad=True)
    offsets, masks = module.g(x).split((4 * module.taps, 2 * module.taps), 1)
    geometry = conv.stride, conv.padding, conv.dilation
    theirs = deform_conv2d(x, offsets, module.conv.weight, module.conv.bias, *geometry, mask=masks)
    torch.testing.assert_close(module(x), theirs)
    ours, expected = (
        torch.autograd.grad(y.square().sum(), x, retain_graph=True) for y in (module(x), theirs)
    )
    torch.testing.assert_close(ours, expected)


def test_offsets_are_row_and_column_by_turns():
    module = Case(DCN, {"version": 1}, channels=1).fresh()
    x = torch.randn(1, 1, 6, 6)
    for channel, shift in ((8, (1, 0)), (9, (0, 1))):  # of the middle tap
        with torch.no_grad():
            module.offset.bias.zero_()[channel] = 1
            module.conv.weight.zero_()[0, 0, 1, 1] = 1
        moved = module(x)[0, 0, :5, :5]
        torch.testing.assert_close(moved, x[0, 0, shift[0] : 5 + shift[0], shift[1] : 5 + shift[1]])


def test_a_network_starts_with_the_logits_of_its_control():
    model, x = build(10, 3, 8).eval(), torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        control = model(x)
        graft(model, "dcn", {}, Site(instead=["layer*.*.conv2"]), (3, 16, 16))
        torch.testing.assert_close(model(x), control, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{"version": 3}, {"variant": "mmcv"}])
def test_what_does_not_exist_is_refused(options):
    with pytest.raises(UserError):
        DCN(8, nn.Conv2d(8, 8, 3), **options)
