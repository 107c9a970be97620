"""EncNet's context encoding module, from its equations, in NumPy."""

import copy

import numpy as np
import pytest
import torch

from attnbench.errors import UserError
from attnbench.mechanisms.channel.enc import Enc, presence
from tests.references._layers import batch_norm, linear, pointwise, relu, sigmoid, softmax

CASES = [{}, {"codewords": 8}, {"variant": "paper"}]
CHANNELS = 32
COUNTS = [
    (64, {}, 10_528),
    (256, {}, 140_128),
    (512, {}, 542_304),
    (256, {"classes": 21}, 140_128 + 5_397),
    (512, {"classes": 21}, 553_077),
]
OFFICIAL = (
    512,
    {"classes": 21},
    [(512, 512), (512,), (512,), (32, 512), (32,), (32,), (32,), (512, 512), (512,), (21, 512), (21,)],
)


def forward(x, p, options, training):
    z = relu(batch_norm(pointwise(x, p, "project"), p, "norm", training))
    z = z.reshape(*z.shape[:2], -1).swapaxes(1, 2)
    residual = z[:, :, None] - p["encoding.codewords"]
    share = softmax(p["encoding.scale"] * (residual**2).sum(3), axis=2)
    encoders = (share[..., None] * residual).sum(1)
    e = relu(batch_norm(encoders, p, "code_norm", training)).sum(1)
    e /= 1 if options.get("variant") == "paper" else p["encoding.scale"].size
    return relu(x + x * sigmoid(linear(e, p, "excite"))[:, :, None, None])


def test_no_loss_without_classes():
    module = Enc(16)
    module(torch.randn(2, 16, 3, 3))
    assert module.loss(torch.tensor([0, 1])) is None


def test_the_loss_is_the_cross_entropy_of_each_class_in_training_only():
    module, x = Enc(16, classes=3), torch.randn(2, 16, 3, 3)
    module(x)
    q = sigmoid(module.logits.detach().double().numpy())
    entropy = -np.log([[1 - q[0, 0], 1 - q[0, 1], q[0, 2]], [q[1, 0], 1 - q[1, 1], 1 - q[1, 2]]]).mean()
    term = module.loss(torch.tensor([2, 0]))
    assert term.item() == pytest.approx(0.2 * entropy, rel=1e-5)
    term.backward()
    assert all(p.grad is not None for name, p in module.named_parameters() if "excite" not in name)
    module.eval()(x)
    assert module.loss(torch.tensor([2, 0])) is None


def test_what_an_image_contains_comes_from_labels_maps_and_mixtures():
    assert presence(torch.tensor([1, 2]), 3).tolist() == [[0, 1, 0], [0, 0, 1]]
    maps = torch.tensor([[[0, 255], [2, 2]], [[-1, 255], [255, 1]]])
    assert presence(maps, 3).tolist() == [[1, 0, 1], [0, 1, 0]]
    mixed = torch.tensor([[0.3, 0.7, 0.0]])
    assert torch.equal(presence(mixed, 3), mixed)
    with pytest.raises(UserError, match="classes=10"):
        presence(mixed, 10)


def test_an_unknown_variant_is_refused():
    with pytest.raises(UserError, match="official"):
        Enc(16, variant="offical")


def test_it_can_be_copied_after_a_training_pass():
    module = Enc(16, classes=3)
    module(torch.randn(2, 16, 3, 3))
    assert copy.deepcopy(module).logits is None


def test_codewords_and_scales_start_as_published():
    module = Enc(64).encoding
    assert module.codewords.abs().max() <= (32 * 64) ** -0.5
    assert module.scale.min() >= -1 and module.scale.max() <= 0


def test_no_tensor_of_positions_codewords_and_channels_is_made():
    x = torch.randn(1, 16, 30, 30, requires_grad=True)
    largest = 0

    def note(tensor):
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        Enc(16)(x)
    assert largest <= 900 * 32


def test_half_precision_does_not_overflow_the_distances():
    module = Enc(16).eval()
    x = (torch.randn(2, 16, 9, 9) * 500).half()
    with torch.autocast("cpu", dtype=torch.float16):
        half = module.g(x)
    torch.testing.assert_close(half.float(), module.g(x.float()), rtol=2e-2, atol=2e-2)
