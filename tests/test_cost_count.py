"""Counting: hand-counted layers, spellings that must agree, what is refused, totals of whole networks."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnbench import cost

N, D = 15, 12  # an odd number of tokens, and their width


class Lambda(nn.Module):
    """A function as a network."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def counted(model, image=(8, 7, 5), counter="dispatch"):
    result = cost.count(model if isinstance(model, nn.Module) else Lambda(model), image, counter)
    assert result["uncounted"] == []
    return result["macs"], result["elementwise"]


LAYERS = [  # layer, image, multiply-adds, element-wise work: by hand
    (nn.Conv2d(8, 6, 3, bias=False), (8, 7, 5), 6 * 5 * 3 * 8 * 9, 0),
    (nn.Conv2d(8, 6, 3, stride=2, padding=1), (8, 7, 5), 6 * 4 * 3 * 8 * 9, 6 * 4 * 3),
    (nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4, bias=False), (8, 7, 5), 8 * 35 * 2 * 9, 0),
    (nn.ConvTranspose2d(8, 6, 2, stride=2, bias=False), (8, 7, 5), 35 * 8 * 6 * 4, 0),
    (nn.Conv1d(8, 4, 3, bias=False), (8, 11), 4 * 9 * 8 * 3, 0),
    (nn.Linear(5, 9), (8, 7, 5), 8 * 7 * 5 * 9, 8 * 7 * 9),
    (nn.Linear(5, 9, bias=False), (8, 7, 5), 8 * 7 * 5 * 9, 0),
    (nn.BatchNorm2d(8), (8, 7, 5), 0, 4 * 280 + 2 * 8),
    (nn.BatchNorm2d(8, affine=False), (8, 7, 5), 0, 2 * 280 + 2 * 8),
    (nn.LayerNorm(5), (8, 7, 5), 0, 7 * 280 + 2 * 56),
    (nn.GroupNorm(4, 8), (8, 7, 5), 0, 7 * 280 + 2 * 4),
    (nn.InstanceNorm2d(8), (8, 7, 5), 0, 5 * 280 + 2 * 8),
    (nn.ReLU(), (8, 7, 5), 0, 280),
    (nn.SiLU(), (8, 7, 5), 0, 2 * 280),
    (nn.ReLU6(), (8, 7, 5), 0, 2 * 280),
    (nn.GELU(), (8, 7, 5), 0, 5 * 280),
    (nn.Softmax(1), (8, 7, 5), 0, 5 * 280),
    (nn.MaxPool2d(3, 2, 1), (8, 7, 5), 0, 8 * 4 * 3 * 9),
    (nn.AdaptiveAvgPool2d(1), (8, 7, 5), 0, 280),
    (nn.AdaptiveAvgPool2d((3, 2)), (8, 7, 5), 0, 8 * 9 * 6),
    (nn.Upsample(scale_factor=2, mode="bilinear"), (8, 7, 5), 0, 4 * 4 * 280),
    (nn.Upsample(scale_factor=2, mode="nearest"), (8, 7, 5), 0, 0),
    (nn.Unfold(3), (8, 7, 5), 0, 0),
    (nn.LSTM(5, 4, batch_first=True), (7, 5), 7 * (16 * 5 + 16 * 4), 7 * (13 * 4 + 2 * 16)),
    (nn.GRU(5, 4, batch_first=True, bias=False), (7, 5), 7 * (12 * 5 + 12 * 4), 7 * 10 * 4),
    (nn.Identity(), (8, 7, 5), 0, 0),
]


@pytest.mark.parametrize("layer, image, macs, elementwise", LAYERS, ids=lambda v: str(v)[:28])
def test_layers_counted_by_hand(layer, image, macs, elementwise):
    assert counted(Lambda(lambda x: layer(x)[0]) if isinstance(layer, nn.RNNBase) else layer, image) == (macs, elementwise)


def fused(x: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(x, x, x)


def explicit(x: Tensor) -> Tensor:
    return ((x / math.sqrt(D)) @ x.transpose(-2, -1)).softmax(-1) @ x


def stable(x: Tensor) -> Tensor:
    scores = torch.einsum("bnd,bmd->bnm", x / math.sqrt(D), x)
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    return torch.bmm(weights / weights.sum(-1, keepdim=True), x)


@pytest.mark.parametrize("function", [fused, explicit, stable])
@pytest.mark.parametrize("tokens", [15, 1, 49])
def test_attention_has_its_closed_form_in_every_spelling(function, tokens):
    assert counted(function, (tokens, D)) == (2 * tokens**2 * D, tokens * D + 5 * tokens**2)


GLOBAL_MEANS = [
    lambda x: x.mean((2, 3)),
    lambda x: x.flatten(2).mean(2),
    lambda x: F.adaptive_avg_pool2d(x, 1),
    lambda x: F.avg_pool2d(x, (7, 5)),
    lambda x: F.avg_pool2d(x, x.shape[2:]),
    lambda x: F.adaptive_avg_pool1d(x.flatten(2), 1),
    lambda x: nn.AdaptiveMaxPool2d(1)(x),
    lambda x: x.amax((2, 3)),
    lambda x: F.max_pool2d(x, (7, 5)),
    lambda x: x.flatten(2).max(2).values,
]


@pytest.mark.parametrize("function", GLOBAL_MEANS)
def test_global_pooling_counts_each_input_once_in_every_spelling(function):
    assert counted(function) == (0, 280)
