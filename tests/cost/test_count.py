"""Counting: hand-counted layers, spellings that must agree, what is refused, totals of whole networks."""

import math
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnbench import cost
from attnbench.errors import UserError

D = 12  # width of a token


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


BOTH = pytest.mark.parametrize("counter", cost.COUNTERS)


class First(nn.Sequential):
    """A layer's first result."""

    def forward(self, x):
        return self[0](x)[0]


def network(layer):
    return First(layer) if isinstance(layer, nn.RNNBase) else layer


@BOTH
@pytest.mark.parametrize("layer, image, macs, elementwise", LAYERS, ids=lambda v: str(v)[:28])
def test_layers_counted_by_hand(layer, image, macs, elementwise, counter):
    assert counted(network(layer), image, counter) == (macs, elementwise)


def fused(x: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(x, x, x)


def explicit(x: Tensor) -> Tensor:
    return ((x / math.sqrt(D)) @ x.transpose(-2, -1)).softmax(-1) @ x


def stable(x: Tensor) -> Tensor:
    scores = torch.einsum("bnd,bmd->bnm", x / math.sqrt(D), x)
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    return torch.bmm(weights / weights.sum(-1, keepdim=True), x)


@BOTH
@pytest.mark.parametrize("function", [fused, explicit, stable])
@pytest.mark.parametrize("tokens", [15, 1, 49])
def test_attention_has_its_closed_form_in_every_spelling(function, tokens, counter):
    assert counted(function, (tokens, D), counter) == (2 * tokens**2 * D, tokens * D + 5 * tokens**2)


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


@BOTH
@pytest.mark.parametrize("function", GLOBAL_MEANS)
def test_global_pooling_counts_each_input_once_in_every_spelling(function, counter):
    assert counted(function, counter=counter) == (0, 280)


SPELLINGS = [  # two spellings of one computation on (b, 8, 7, 5)
    (lambda x: F.silu(x), lambda x: x * x.sigmoid()),
    (lambda x: F.hardsigmoid(x), lambda x: F.relu6(x + 3) / 6),
    (lambda x: F.hardswish(x), lambda x: x * (F.relu6(x + 3) / 6)),
    (lambda x: F.gelu(x), lambda x: (x * 0.5) * (1 + torch.erf(x / math.sqrt(2)))),
    (lambda x: x.var((2, 3)), lambda x: (x - x.mean((2, 3), keepdim=True)).square().mean((2, 3))),
    (lambda x: torch.linalg.vector_norm(x, dim=(2, 3)), lambda x: x.square().sum((2, 3)).sqrt()),
    (lambda x: x.logsumexp(1), lambda x: _log_sum_exp(x)),
    (lambda x: F.linear(x, torch.ones(3, 5), torch.ones(3)), lambda x: x @ torch.ones(5, 3) + torch.ones(3)),
    (lambda x: torch.lerp(x, x, x), lambda x: x + x * (x - x)),
    (lambda x: torch.einsum("bchw,bc->bhw", x, x.mean((2, 3))), lambda x: _weighted_by_matmul(x)),
    (lambda x: F.layer_norm(x, (5,)), lambda x: _normalised(x, -1)),
    (lambda x: F.instance_norm(x), lambda x: _normalised(x, (2, 3))),
    (lambda x: F.glu(x, 1), lambda x: x[:, :4] * x[:, 4:].sigmoid()),
    (lambda x: torch.baddbmm(x[0], x[0], x[0].mT), lambda x: x[0] + x[0] @ x[0].mT),
]


def _log_sum_exp(x):
    top = x.amax(1, keepdim=True)
    return (x - top).exp().sum(1).log() + top[:, 0]


def _weighted_by_matmul(x):
    return (x.mean((2, 3))[:, None] @ x.flatten(2)).unflatten(2, (7, 5))


def _normalised(x, dims):
    centred = x - x.mean(dims, keepdim=True)
    return centred / (centred.square().mean(dims, keepdim=True) + 1e-5).sqrt()


@BOTH
@pytest.mark.parametrize("index", range(len(SPELLINGS)))
def test_fused_and_single_steps_agree(index, counter):
    fused, single = SPELLINGS[index]
    image = (8, 7, 7) if index == 13 else (8, 7, 5)
    assert counted(fused, image, counter) == counted(single, image, counter)


def test_attention_scaled_by_one_is_not_scaled():
    unscaled = counted(lambda x: F.scaled_dot_product_attention(x, x, x, scale=1.0), (15, D))
    assert unscaled == counted(lambda x: (x @ x.mT).softmax(-1) @ x, (15, D))


def test_a_bias_and_a_mask_are_additions():
    mask = torch.zeros(15, 15)
    masked = counted(lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=mask.to(x.device)), (15, D))
    assert masked == counted(lambda x: ((x / 3) @ x.mT + mask.to(x.device)).softmax(-1) @ x, (15, D))


@BOTH
def test_lstm_is_its_cells_step_by_step(counter):
    class Steps(nn.LSTMCell):
        def forward(self, x):
            h = c = x.new_zeros(1, 4)
            for t in range(7):
                pair = (
                    F.linear(x[:, t], self.weight_ih, self.bias_ih),
                    F.linear(h, self.weight_hh, self.bias_hh),
                )
                i, f, g, o = (pair[0] + pair[1]).chunk(4, 1)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
            return h

    layer = nn.LSTM(5, 4, batch_first=True)
    assert counted(network(layer), (7, 5), counter) == counted(Steps(5, 4), (7, 5), counter)


def test_multi_head_attention_is_not_swallowed_by_its_fast_path():
    class Attention(nn.Module):
        def __init__(self, weights):
            super().__init__()
            self.attention = nn.MultiheadAttention(D, 3, batch_first=True)
            self.weights = weights

        def forward(self, x):
            return self.attention(x, x, x, need_weights=self.weights)[0]

    expected = 4 * 15 * D * D + 2 * 15 * 15 * D
    assert counted(Attention(False), (15, D))[0] == counted(Attention(True), (15, D))[0] == expected
    encoder = nn.TransformerEncoderLayer(D, 3, 2 * D, batch_first=True)
    assert counted(encoder, (15, D))[0] == expected + 2 * 15 * D * 2 * D


def test_deformable_convolution_counts_its_samples():
    from torchvision.ops import DeformConv2d

    class Deformable(nn.Module):
        def __init__(self):
            super().__init__()
            self.offset = nn.Conv2d(8, 18, 3, padding=1, bias=False)
            self.conv = DeformConv2d(8, 6, 3, padding=1, bias=False)

        def forward(self, x):
            return self.conv(x, self.offset(x))

    for counter in cost.COUNTERS:
        macs, elementwise = counted(Deformable(), counter=counter)
        assert macs == 35 * 8 * 9 * (18 + 6)
        assert elementwise == 4 * 35 * 8 * 9 + 35 * 6  # torchvision adds a bias of zeros


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


@BOTH
def test_what_has_no_rule_is_named_beside_the_sum_of_the_rest(counter):
    model = nn.Sequential(nn.Conv2d(8, 6, 3, bias=False), Lambda(torch.digamma), nn.ReLU())
    macs = 6 * 5 * 3 * 8 * 9
    figures = {"macs": macs, "elementwise": 90, "activations": 90, "uncounted": ["aten::digamma"]}
    assert cost.count(model, (8, 7, 5), counter) == figures


OUTSIDE = [  # work that torch does not see, and how it got there
    (lambda x: torch.from_numpy(np.tanh(x.numpy())), "numpy"),
    (lambda x: torch.from_numpy(np.tanh(np.asarray(x.relu()))), "numpy"),
    (lambda x: torch.as_tensor(np.tanh(x.detach().cpu())), "numpy"),
    (lambda x: torch.from_numpy(np.from_dlpack(x) * 2.0), "dlpack"),
    (lambda x: x * math.fsum(x[0, :, 0, 0].tolist()), "tolist"),
]


@BOTH
@pytest.mark.parametrize("function, name", OUTSIDE)
def test_work_outside_torch_is_named(function, name, counter):
    assert cost.count(Lambda(function), (8, 7, 5), counter)["uncounted"] == [name]


@BOTH
def test_values_read_for_a_decision_are_no_work_outside(counter):
    model = Lambda(lambda x: x.relu() if x.sum().item() > 0 and max(x.argmax(1)[0, 0].tolist()) < 9 else x)
    assert cost.count(model, (8, 7, 5), counter)["uncounted"] == []


class Packed(nn.Module):
    """An LSTM on all steps but the last two."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(5, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, [x.shape[1] - 2], batch_first=True)
        return nn.utils.rnn.pad_packed_sequence(self.layer(packed)[0], batch_first=True)[0]


class Pairs(nn.Bilinear):
    """A bilinear layer of a map with itself."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x, x)


def marked(x: Tensor) -> Tensor:
    with torch.profiler.record_function("marked"):
        return x + 1


def batches(x: Tensor) -> Tensor:
    return torch.addbmm(x.new_ones(7, 7), x[0], x[0].mT)


KINDS = [  # network, image, multiply-adds, element-wise work: by hand
    (Packed(), (9, 5), 7 * (16 * 5 + 16 * 4), 7 * (13 * 4 + 2 * 16)),
    (Pairs(5, 5, 3), (8, 7, 5), 56 * 3 * 5 * 5, 56 * 3),
    (Lambda(marked), (8, 7, 5), 0, 280),
    (Lambda(batches), (8, 7, 5), 7 * 7 * 8 * 5, 7 * 7),
    (Lambda(lambda x: torch.einsum("b...hw,b...hw->b...", x, x)), (8, 7, 5), 280, 0),
    (Lambda(lambda x: torch.einsum("...i,...j->...ij", x, x)), (8, 7, 5), 0, 280 * 5),
    (Lambda(lambda x: torch.einsum("bchw,bcxy", x, x)), (8, 7, 5), 8 * 35 * 35, 0),
    (Lambda(lambda x: torch.einsum("bchw->bc", x)), (8, 7, 5), 0, 280),
    (Lambda(lambda x: F.interpolate(x, (7, 5), mode="bilinear", antialias=True)), (8, 7, 5), 0, 8 * 13 * 9),
    (Lambda(lambda x: F.interpolate(x, (4, 3), mode="bilinear", antialias=True)), (1, 8, 6), 0, 14 * 10),
    (nn.utils.parametrizations.weight_norm(nn.Linear(5, 9)), (5,), 45, 9 + 3 * 45 + 2 * 9),
    (nn.Conv2d(8, 6, 3, bias=False).half(), (8, 7, 5), 6 * 5 * 3 * 8 * 9, 0),
    (nn.Linear(5, 9).double(), (5,), 45, 9),
]


@BOTH
@pytest.mark.parametrize("model, image, macs, elementwise", KINDS, ids=range(len(KINDS)))
def test_kinds_of_layers_that_need_a_rule_of_their_own(model, image, macs, elementwise, counter):
    assert counted(model, image, counter) == (macs, elementwise)


def test_dynamic_int8_linear_layers_multiply_as_often_as_float_ones():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(5, 9)), {nn.Linear})
    assert counted(model, (7, 5)) == (7 * 45, 4 * 35 + 2 * 63)  # input measured and rounded; scale and bias


def test_the_second_counter_sees_results_that_nothing_uses():
    def drawn(x: Tensor) -> Tensor:
        (x @ x.mT).square()  # a log-likelihood that only training asks for
        return x

    assert counted(drawn) == counted(drawn, counter="fvcore") == (8 * 49 * 5, 8 * 49)


@BOTH
def test_custom_autograd_functions_are_counted_by_what_they_run(counter):
    assert counted(lambda x: Double.apply(x), (8,), counter) == (0, 8)


def test_a_model_that_reads_values_is_counted_on_the_cpu():
    def reads(x):
        return x.relu() if x.sum().item() > 0 else x

    assert counted(reads) == (0, 560)


def test_counting_leaves_the_model_alone():
    model = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.Dropout()).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    cost.count(model, (8, 7, 5))
    cost.count(model, (8, 7, 5), "fvcore")
    assert all(m.training for m in model.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_unknown_counter_is_refused():
    with pytest.raises(UserError, match="known: dispatch, fvcore"):
        cost.count(nn.Identity(), (1, 2, 2), "thop")


TOTALS = {
    "resnet50": 4_089_184_256,
    "vit_small_patch16_224": 4_598_882_304,
    "vit_tiny_patch16_224": 1_253_683_200,
    "convnext_tiny": 4_455_531_264,
    "resnet18": 1_814_073_344,
    "efficientnet_b0": 385_814_752,
    "mobilenetv3_small_100": 56_510_400,
}


@pytest.mark.parametrize("name, macs", TOTALS.items())
def test_totals_of_known_networks(name, macs):
    import timm

    model = timm.create_model(name)
    assert cost.count(model, (3, 224, 224))["macs"] == macs
