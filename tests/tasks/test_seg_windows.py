"""Evaluation of whole images: windows, scales, mirror images."""

import pytest
import torch
from torch import nn

from attnbench.tasks.segmentation.windows import predict, starts


class Pixelwise(nn.Module):
    """Logits of a pixel from that pixel alone, so that windows cannot change them."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, x):
        self.sizes.append(tuple(x.shape[2:]))
        return torch.cat([x, -x], 1)


class Columns(nn.Module):
    """Logits that tell the left from the right half."""

    def forward(self, x):
        side = (torch.arange(x.shape[3]) < x.shape[3] // 2).float().expand(len(x), 1, *x.shape[2:])
        return torch.cat([side, 1 - side], 1)


@pytest.mark.parametrize(
    ("length", "window", "stride", "right"),
    [
        (10, 4, 3, [0, 3, 6]),
        (11, 4, 3, [0, 3, 6, 7]),
        (4, 4, 3, [0]),
        (5, 4, 4, [0, 1]),
        (9, 4, 1, list(range(6))),
    ],
)
def test_windows_cover_all_and_end_at_the_end(length, window, stride, right):
    assert starts(length, window, stride) == right


@pytest.mark.parametrize("size", [(12, 12), (13, 17), (5, 21), (3, 3)])
def test_windows_change_nothing_for_a_network_that_sees_single_pixels(size):
    images, network = torch.randn(2, 3, *size), Pixelwise()
    assert torch.allclose(predict(network, images, {"crop": 6, "stride": 4}), network(images), atol=1e-6)
    assert all(h <= 6 and w <= 6 for h, w in network.sizes[:-1])


def test_overlapping_windows_are_averaged():
    class Mean(nn.Module):
        def forward(self, x):
            return x.mean((2, 3), keepdim=True).expand(*x.shape)

    images = torch.arange(6.0).view(1, 1, 1, 6).expand(1, 1, 4, 6)
    out = predict(Mean(), images, {"crop": [4, 4], "stride": [4, 2]})
    assert out[0, 0, 0].tolist() == pytest.approx([1.5, 1.5, 2.5, 2.5, 3.5, 3.5])


def test_coarse_logits_come_back_at_the_images_size():
    network = nn.Conv2d(3, 4, 3, stride=8, padding=1)
    for size in ((33, 47), (64, 40)):
        assert predict(network, torch.randn(1, 3, *size)).shape == (1, 4, *size)
        assert predict(network, torch.randn(1, 3, *size), {"crop": 24}).shape == (1, 4, *size)


def test_one_scale_is_the_networks_own_logits():
    images, network = torch.randn(2, 3, 8, 8), Pixelwise()
    assert torch.equal(predict(network, images), network(images))


def test_scales_and_mirror_images_average_probabilities():
    network, images = Pixelwise(), torch.randn(1, 2, 8, 12)
    out = predict(network, images, {"scales": [0.5, 1.0, 1.75], "flip": True})
    assert network.sizes == [(4, 6)] * 2 + [(8, 12)] * 2 + [(14, 21)] * 2
    assert torch.allclose(out.exp().sum(1), torch.ones(1, 8, 12), atol=1e-5)


def test_the_mirror_images_prediction_is_mirrored_back():
    network, images = Pixelwise(), torch.randn(1, 2, 5, 7)
    expected = network(images).softmax(1)
    assert torch.allclose(predict(network, images, {"flip": True}).exp(), expected, atol=1e-5)
    sided = predict(Columns(), images[..., :6], {"flip": True}).exp()
    assert torch.allclose(sided, torch.full_like(sided, 0.5), atol=1e-6)
