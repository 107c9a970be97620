"""Attention gate, from its equations, in NumPy."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from attnbench import backbones
from attnbench.checks.case import Case, randomise
from attnbench.errors import Impossible, UserError
from attnbench.grafting.graft import graft
from attnbench.mechanisms.base import Place
from attnbench.mechanisms.spatial.attention_gate import AttentionGate, mean_flow
from tests.networks import backbone
from tests.references._layers import batch_norm, conv2d, pointwise, relu, sigmoid

CASES = [
    {},
    {"variant": "classification"},
    {"factor": 1, "hidden": 6},
    {"variant": "classification", "factor": 2},
]
CHANNELS = 16
UNET = {"signal": 512, "hidden": 256}
COUNTS = [
    (256, UNET, 460_033),
    (256, {"signal": 512, "hidden": 128}, 263_169),
    (256, {"signal": 512, "hidden": 512, "variant": "classification"}, 393_729),
]
OFFICIAL = (
    256,
    UNET,
    [(256, 256, 2, 2), (256, 512), (256,), (1, 256), (1,), (256, 256), (256,), (256,), (256,)],
)


def forward(x, p, options, training):
    h, w = (n // 2 for n in x.shape[2:])
    signal = x[:, :, : 2 * h, : 2 * w].reshape(*x.shape[:2], h, 2, w, 2).mean((3, 5))
    strided = options == {"variant": "classification", "factor": 2}
    return gated(x, x if strided else signal, p, options, training)


def gated(x, signal, p, options, training):
    classifies = options.get("variant") == "classification"
    factor = options.get("factor", 1 if classifies else 2)
    near = conv2d(x, p, "theta", stride=factor)
    far = resized(conv2d(signal, p, "phi", stride=factor if classifies else 1), *near.shape[2:])
    z = pointwise(relu(near + far), p, "psi")
    if classifies:
        z = z - z.min((2, 3), keepdims=True)
        a = resized(z / z.sum((2, 3), keepdims=True), *x.shape[2:])
        return x.shape[2] * x.shape[3] * a * x
    return batch_norm(pointwise(resized(sigmoid(z), *x.shape[2:]) * x, p, "out.0"), p, "out.1", training)


def resized(x, height, width):
    """Linear interpolation of (b, c, h, w) between the centres of positions that fill equal areas."""
    for axis, k in ((2, height), (3, width)):
        n = x.shape[axis]
        at = np.maximum((np.arange(k) + 0.5) * n / k - 0.5, 0)
        low = np.minimum(at.astype(int), n - 1)
        share = (at - low).reshape((-1,) + (1,) * (3 - axis))
        x = x.take(low, axis) * (1 - share) + x.take(np.minimum(low + 1, n - 1), axis) * share
    return x


@pytest.mark.parametrize("variant", ["segmentation", "classification"])
def test_a_gating_signal_of_its_own_width_and_size(variant):
    options = {"signal": 24, "variant": variant}
    case = Case(AttentionGate, options, channels=8, size=(10, 12))
    module, x, signal = case.trained().eval(), case.x().detach(), torch.randn(2, 24, 4, 5).double()
    p = {key: value.numpy() for key, value in module.state_dict().items()}
    expected = gated(x.numpy(), signal.numpy(), p, options, False)
    np.testing.assert_allclose(module(x, signal).detach().numpy(), expected, rtol=1e-9, atol=1e-10)
    with pytest.raises(UserError, match="24 channels, but none came"):
        module(x)


def test_in_classification_the_mean_is_the_authors_weighted_sum():
    case = Case(AttentionGate, {"variant": "classification"}, channels=8)
    module, x = case.trained(), case.x().detach()
    a = module.g(x)
    torch.testing.assert_close(a.sum((1, 2, 3)), torch.ones(2).double())
    torch.testing.assert_close(module(x).mean((2, 3)), (a * x).sum((2, 3)))


def test_equal_scores_have_equal_shares():
    z = torch.full((1, 1, 2, 3), 7.0, requires_grad=True)
    torch.testing.assert_close(mean_flow(z), torch.full((1, 1, 2, 3), 1 / 6))
    assert torch.autograd.grad(mean_flow(z)[0, 0, 0, 0], z)[0].isfinite().all()


def test_maps_without_a_coarser_one_are_refused():
    with pytest.raises(Impossible, match="1x6"):
        AttentionGate.at(Place("layer4", 8, (1, 6)))
    with pytest.raises(UserError, match="1x6"):
        AttentionGate(8)(torch.zeros(2, 8, 1, 6))


@pytest.fixture(scope="module")
def sononet():
    """ResNet-18 of 10 classes with AG-Sononet's classifier, and that classifier."""
    config = backbone("resnet18")
    network = backbones.build(config, 10, (3, 64, 64))
    (head,) = graft(network, "attention_gate", {"variant": "sononet"}, config.sites["gates"], (3, 64, 64))
    return randomise(head) and network.double().eval(), head


def test_two_stages_are_gated_by_the_last_one(sononet):
    network, head = sononet
    x = torch.randn(2, 3, 64, 64).double()
    maps = network.forward_intermediates(x, intermediates_only=True)[-3:]
    p = {key: value.numpy() for key, value in head.state_dict().items()}
    *levels, last = (m.detach().numpy() for m in maps)
    read = []
    for number, level in enumerate(levels):
        own = {
            k.removeprefix(f"gates.{number}."): v for k, v in p.items() if k.startswith(f"gates.{number}.")
        }
        gate = gated(level, last, own, {"variant": "classification"}, False)
        read.append(gate.mean((2, 3)))  # n a x, whose mean is the authors' sum
    expected = np.concatenate([*read, last.mean((2, 3))], 1) @ p["classify.weight"].T + p["classify.bias"]
    np.testing.assert_allclose(network(x).detach().numpy(), expected, rtol=1e-8, atol=1e-9)
    gates = sum(c * 512 + 512 * 512 + 512 + 1 for c in (128, 256))
    assert sum(parameter.numel() for parameter in head.parameters()) == gates + 10 * (128 + 256 + 512) + 10


def test_copies_and_pickles_of_the_network_see_their_own_stages(sononet):
    network, _ = sononet
    x, y = (torch.randn(1, 3, 64, 64).double() for _ in range(2))
    expected = network(x)
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        network(y)
        torch.testing.assert_close(twin(x), expected)


def test_the_classifier_of_several_stages_stands_instead_of_a_classifier_only(sononet):
    config = backbone("resnet18")
    network = backbones.build(config, 10, (3, 64, 64))
    options = {"variant": "sononet"}
    with pytest.raises(Impossible, match="site=gates"):
        graft(network, "attention_gate", options, config.sites["stage"], (3, 64, 64))
    with pytest.raises(Impossible, match="SE expects maps but receives vectors"):
        graft(network, "se", {}, config.sites["gates"], (3, 64, 64))
    with pytest.raises(Impossible, match="3 stages"):
        AttentionGate.at(Place("fc", 512, (1, 1), replaces=nn.Linear(512, 10)), **options)
