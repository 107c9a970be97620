"""Object-contextual representations, from their equations, in NumPy."""

import numpy as np
import pytest
import torch

from tests.references._layers import pointwise, softmax
from tests.references.apnb import attended, conv_norm_relu, kept

CASES = [{}, {"classes": 5, "dropout": 0.5, "bias": False}]
CHANNELS = 16
COUNTS = [
    (512, {}, 1_186_560 + 19 * 513),
    (512, {"bias": False}, 1_184_256 + 19 * 513),
    (256, {"classes": 10}, 298_368 + 10 * 257),
]
LAYERS = [(128, 256), (128, 128), (128, 256), (128, 128), (128, 256), (256, 128), (256, 512)]
OFFICIAL = (
    256,
    {},
    [(19, 256), (19,), *[shape for o, i in LAYERS for shape in ((o, i), (o,), (o,), (o,))]],
)


def twice(x, p, name, training):
    return conv_norm_relu(conv_norm_relu(x, p, f"{name}.0", training), p, f"{name}.1", training)


def forward(x, p, options, training):
    b, c, h, w = x.shape
    shares = softmax(pointwise(x, p, "coarse").reshape(b, -1, h * w), 2)
    objects = np.einsum("bcn,bkn->bck", x.reshape(b, c, h * w), shares)
    q = twice(x, p, "query", training).reshape(b, -1, h * w)
    k = twice(objects, p, "key", training)
    v = conv_norm_relu(objects, p, "value", training)
    context = conv_norm_relu(attended(q, k, v).reshape(b, -1, h, w), p, "up", training)
    y = conv_norm_relu(np.concatenate([context, x], 1), p, "fuse", training)
    return y * kept(x.shape, options.get("dropout", 0.05), training)


def drawn(**options):
    from attnbench.checks import suite
    from attnbench.mechanisms.spatial.ocr import OCR

    case = suite.Case(OCR, options, channels=16)
    return case.trained(), case.x().detach()


def cross_entropy(logits, labels):
    return -np.log(softmax(logits, 1)[np.arange(len(labels)), labels]).mean()


def test_the_coarse_prediction_learns_from_classes_and_from_label_maps():
    module, x = drawn(classes=5)
    module(x)
    coarse = module.coarse(x).detach().numpy()
    loss = module.loss(torch.tensor([3, 1])).item()
    assert loss == pytest.approx(0.4 * cross_entropy(coarse.mean((2, 3)), [3, 1]))
    labels = torch.arange(70).view(2, 7, 5) % 5
    labels[0, 0] = 255
    known = (labels.flatten() < 5).numpy()
    by_position = np.moveaxis(coarse, 1, 3).reshape(-1, 5)[known]
    expected = 0.4 * cross_entropy(by_position, labels.flatten()[known].numpy())
    assert module.loss(labels).item() == pytest.approx(expected)


def test_free_regions_have_no_loss_and_wrong_targets_are_named():
    from attnbench.errors import UserError

    module, x = drawn()
    module(x)
    assert module.loss(torch.tensor([3, 1])) is None
    module, x = drawn(classes=5)
    module(x)
    with pytest.raises(UserError, match="classes=5, but the targets have 7"):
        module.loss(torch.zeros(2, 7))
