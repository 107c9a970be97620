"""Hamburger, from its equations, in NumPy."""

import numpy as np
import torch

from tests.references._layers import batch_norm, pointwise, relu, softmax

CASES = [
    {},
    {"variant": "v1", "rank": 8},
    {"variant": "v2+", "rank": 8, "train_steps": 2, "eval_steps": 3},
    {"method": "vq", "rank": 8},
    {"method": "cd", "rank": 8, "seed": 1},
]
CHANNELS = 16
COUNTS = [
    (256, {"variant": "v1"}, 131_840),
    (512, {"variant": "v1"}, 525_824),
    (256, {}, 197_376),
    (512, {}, 787_968),
    (256, {"variant": "v2+"}, 197_378),
    (256, {"method": "cd"}, 197_376),
]
OFFICIAL = [
    (256, {"variant": "v1"}, [(256, 256), (256,), (256, 256), (256,), (256,)]),
    (256, {}, [(256, 256), (256,), (256, 256), (256,), (256,), (256, 256)]),
]


def norm(a):
    return np.sqrt((a**2).sum(1, keepdims=True))


def unit(a):
    return a / np.maximum(norm(a), 1e-6)


def start(x, p, method, training):
    """The bases before the first step; in training, those that torch's global generator is to draw next."""
    if not training:
        return np.repeat(p["bases"], len(x), 0)
    with torch.random.fork_rng():
        draw = torch.rand if method == "nmf" else torch.randn
        return unit(draw(*x.shape[:2], p["bases"].shape[2], dtype=torch.float64).numpy())


def product(x, y, sum_of):
    return np.einsum(sum_of, x, y)


def nmf(x, w, steps):
    h = softmax(product(x, w, "bcn,bck->bnk"), 2)
    for step in range(steps + 1):
        h = h * product(x, w, "bcn,bck->bnk") / (h @ product(w, w, "bck,bcl->bkl") + 1e-6)
        if step < steps:
            w = w * product(x, h, "bcn,bnk->bck") / (w @ product(h, h, "bnk,bnl->bkl") + 1e-6)
    return w, h


def cosine(directions, w):
    return softmax(100 * product(directions, unit(w), "bcn,bck->bnk"), 2)


def vq(x, w, steps, concepts=False):
    for _ in range(steps):
        h = cosine(unit(x), w)
        w = product(x, h / (1e-6 + h.sum(1, keepdims=True)), "bcn,bnk->bck")
        w = unit(w) if concepts else w
    if not concepts:
        return w, cosine(x / (1e-6 + norm(x)), w)
    gram = product(w, w, "bck,bcl->bkl") + 0.1 * np.eye(w.shape[2])
    return w, product(x, w, "bcn,bck->bnk") @ np.linalg.inv(gram)


def forward(x, p, options, training):
    method, variant = options.get("method", "nmf"), options.get("variant", "v2")
    steps = options.get("train_steps", 6) if training else options.get("eval_steps", 7)
    z = pointwise(x, p, "lower")
    z = (relu(z) if method == "nmf" else z).reshape(*z.shape[:2], -1)
    w = start(z, p, method, training)
    w, h = nmf(z, w, steps) if method == "nmf" else vq(z, w, steps, method == "cd")
    y = product(w, h, "bck,bnk->bcn").reshape(x.shape)
    y = batch_norm(pointwise(y, p, "upper.0"), p, "upper.1", training)
    if variant != "v1":
        y = pointwise(relu(y), p, "upper.3")
    return relu(p["weight"] * y + p["shortcut"] * x if variant == "v2+" else x + y)


def drawn(**options):
    from attnbench import checks
    from attnbench.mechanisms.spatial.ham import Ham

    case = checks.Case(Ham, options, channels=16)
    return case.trained(), case.x().detach()


def test_evaluation_repeats_itself_and_training_draws_anew():
    module, x = drawn(rank=8)
    assert torch.equal(module.eval()(x), module(x))
    assert not torch.equal(module.train()(x), module(x))


def test_another_seed_starts_from_other_bases():
    assert not torch.equal(drawn(seed=0)[0].bases, drawn(seed=1)[0].bases)


def test_more_steps_come_nearer_to_the_map():
    """The factorisation's error falls with each pair of updates."""
    from attnbench.mechanisms.spatial import ham

    x = drawn()[1].relu().flatten(2)
    start = torch.nn.functional.normalize(torch.rand(2, 16, 4, dtype=torch.float64), dim=1)
    errors = []
    for steps in (1, 4, 16, 64):
        w, h = ham.factorise(x, start, steps)
        errors.append((x - w @ h.transpose(1, 2)).norm().item())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.9 * errors[0]


def test_v2_plus_starts_as_relu():
    from attnbench.mechanisms.spatial.ham import Ham

    x = drawn()[1].float()
    assert torch.equal(Ham(16, variant="v2+")(x), x.relu())
