"""Hamburger, from its equations, in NumPy."""

import numpy as np
import pytest
import torch

from tests.references._layers import batch_norm, pointwise, relu, softmax

CASES = [
    {},
    {"variant": "v1", "rank": 8},
    {"variant": "light", "rank": 8},
    {"variant": "v2+", "rank": 8, "train_steps": 2, "eval_steps": 3},
    {"method": "vq", "rank": 8},
    {"method": "cd", "rank": 8, "seed": 1},
    {"variant": "v2+", "rank": 8, "dual": True},
    {"variant": "v2+", "rank": 8, "dual": True, "method": "vq", "seed": 2},
]
CHANNELS = 16
DUAL = {"variant": "v2+", "dual": True}
COUNTS = [
    (256, {"variant": "v1"}, 131_840),
    (512, {"variant": "v1"}, 525_824),
    (256, {}, 197_376),
    (512, {}, 787_968),
    (256, {"variant": "v2+"}, 197_378),
    (256, {"method": "cd"}, 197_376),
    (256, DUAL, 328_706),
]
OFFICIAL = [
    (256, {"variant": "v1"}, [(256, 256), (256,), (256, 256), (256,), (256,)]),
    (256, {}, [(256, 256), (256,), (256, 256), (256,), (256,), (256, 256)]),
    (256, DUAL, [(), (), (512, 256), (512,), (256, 512), (256,), (256,), (256, 256)]),
]


def norm(a):
    return np.sqrt((a**2).sum(1, keepdims=True))


def unit(a):
    return a / np.maximum(norm(a), 1e-6)


def starts(parts, p, options, training):
    """The bases before the first step; in training, those that torch's global generator is to draw next."""
    rank, draw = p["bases"].shape[2], torch.rand if options.get("method", "nmf") == "nmf" else torch.randn
    if training:
        with torch.random.fork_rng():
            return [unit(draw(*x.shape[:2], rank, dtype=torch.float64).numpy()) for x in parts]
    generator = torch.Generator().manual_seed(options.get("seed", 0))
    turned = [draw(1, x.shape[1], rank, generator=generator) for x in parts[1:]]
    turned = [torch.nn.functional.normalize(bases, dim=1).double().numpy() for bases in turned]
    return [np.repeat(bases, len(parts[0]), 0) for bases in (p["bases"], *turned)]


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


def group_norm(y, p):
    """32 groups, or of narrower maps as many as there are channels."""
    grouped = y.reshape(len(y), min(32, y.shape[1]), -1)
    mean, variance = grouped.mean(2, keepdims=True), grouped.var(2, keepdims=True)
    normal = ((grouped - mean) / np.sqrt(variance + 1e-5)).reshape(y.shape)
    return normal * p["upper.1.weight"][:, None, None] + p["upper.1.bias"][:, None, None]


def forward(x, p, options, training):
    method, variant = options.get("method", "nmf"), options.get("variant", "v2")
    steps = options.get("train_steps", 6) if training else options.get("eval_steps", 7)
    z = pointwise(x, p, "lower")
    z = (relu(z) if method == "nmf" else z).reshape(*z.shape[:2], -1)
    parts = [z]
    if options.get("dual"):
        one, other = np.split(z, 2, 1)
        parts = [one, other.swapaxes(1, 2)]
    rebuilt = []
    for part, w in zip(parts, starts(parts, p, options, training)):
        w, h = nmf(part, w, steps) if method == "nmf" else vq(part, w, steps, method == "cd")
        rebuilt.append(product(w, h, "bck,bnk->bcn"))
    if options.get("dual"):
        rebuilt[1] = rebuilt[1].swapaxes(1, 2)
    y = np.concatenate(rebuilt, 1).reshape(len(x), -1, *x.shape[2:])
    y = pointwise(y, p, "upper.0")
    y = group_norm(y, p) if variant == "light" else batch_norm(y, p, "upper.1", training)
    if variant not in ("v1", "light"):
        y = pointwise(relu(y), p, "upper.3")
    return relu(p["weight"] * y + p["shortcut"] * x if variant == "v2+" else x + y)


def drawn(**options):
    from attnbench.checks import suite
    from attnbench.mechanisms.spatial.ham import Ham

    case = suite.Case(Ham, options, channels=16)
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


def test_two_maps_belong_to_v2_plus():
    from attnbench.errors import UserError
    from attnbench.mechanisms.spatial.ham import Ham

    with pytest.raises(UserError, match=r"variant=v2\+, not to v2"):
        Ham(16, dual=True)
