"""Non-local block, from its equations, in NumPy."""

import numpy as np
import pytest

from tests.references._layers import batch_norm, max_pool, pointwise, relu, softmax

MODES = ("embedded", "gaussian", "dot", "concatenation")
CASES = [
    {},
    {"pool": False, "scale": False},
    *({"affinity": mode} for mode in MODES[1:]),
    *({"space_time": True, "affinity": mode} for mode in MODES),
]
COUNTS = [(256, {}, 132_224), (1024, {}, 2_101_760)]
OFFICIAL = (256, {}, [*[(128, 256), (128,)] * 3, (256, 128), (256,), (256,), (256,)])


def forward(x, p, options, training):
    if options.get("space_time"):
        return in_space_and_time(x, p, options, training)
    b, c = x.shape[:2]
    z = max_pool(x, 2) if options.get("pool", True) else x
    return related(x.reshape(b, c, -1), z.reshape(b, c, -1), p, options, training).reshape(x.shape)


def in_space_and_time(x, p, options, training):
    """The positions of all frames as one set, of clips (b t c h w)."""
    b, t, c, h, w = x.shape
    frames = [x[:, n] for n in range(t)]
    pooled = [max_pool(frame, 2) for frame in frames]
    x_, z_ = (np.concatenate([f.reshape(b, c, -1) for f in group], 2) for group in (frames, pooled))
    y = related(x_, z_, p, options, training)
    return np.stack([y[:, :, n * h * w : (n + 1) * h * w].reshape(b, c, h, w) for n in range(t)], 1)


def related(x_, z_, p, options, training):
    """What positions (b c n) become that gather from positions (b c m)."""
    affinity = options.get("affinity", "embedded")
    q, k = (x_, z_) if affinity == "gaussian" else (pointwise(x_, p, "theta"), pointwise(z_, p, "phi"))
    n, d = k.shape[2], q.shape[1]
    likeness = np.einsum("bdi,bdj->bij", q, k)
    if affinity == "concatenation":
        w_ = p["concat.weight"][0]
        of_pair = np.einsum("d,bdi->bi", w_[:d], q)[:, :, None] + np.einsum("d,bdj->bj", w_[d:], k)[:, None]
        a = relu(of_pair) / n
    elif affinity == "dot":
        a = likeness / n
    else:
        a = softmax(likeness / (np.sqrt(d) if options.get("scale", True) else 1), 2)
    y = np.einsum("bij,bdj->bdi", a, pointwise(z_, p, "value"))
    return x_ + batch_norm(pointwise(y, p, "out"), p, "norm", training)


@pytest.mark.parametrize("affinity", MODES)
def test_large_maps_take_the_short_way_to_the_same_values_and_gradients(affinity):
    import torch

    from attnbench.checks.suite import Case, equation
    from attnbench.mechanisms.spatial import non_local

    size = (32, 33)
    assert size[0] * size[1] >= non_local.MANY
    equation(Case(non_local.NonLocal, {"affinity": affinity}, channels=6, size=size, batch=1))
    module = non_local.NonLocal(6, affinity=affinity)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()), lambda t: t):
        module(torch.randn(1, 6, *size))
    assert max(kept) < 32 * 33 * 20, "the affinity matrix was written down"


def test_large_maps_by_concatenation_in_half_precision():
    import torch

    from attnbench.checks.suite import Case, half
    from attnbench.mechanisms.spatial.non_local import NonLocal

    half(Case(NonLocal, {"affinity": "concatenation"}, size=(32, 33)))
    x = torch.randn(2, 8, 32, 33)
    module = NonLocal(8, affinity="concatenation")
    torch.nn.init.ones_(module.norm.weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = module(x.bfloat16())
    torch.testing.assert_close(y.float(), module(x), rtol=0.1, atol=0.1)


def test_frames_are_related_to_each_other():
    from attnbench.checks.suite import Case
    from attnbench.mechanisms.spatial.non_local import NonLocal

    case = Case(NonLocal, {"space_time": True}, channels=8)
    module, x = case.trained().eval(), case.x().detach()
    other = x.clone()
    other[:, 5] += 1
    changed = (module(x) - module(other)).abs().amax((0, 2, 3, 4))
    assert bool((changed > 0).all())
    assert module.g(x).shape == (2, 8 * 35, 8 * 6)


def test_pooling_stands_before_the_convolutions():
    import torch

    from attnbench.mechanisms.spatial.non_local import NonLocal

    module, seen = NonLocal(8), []
    module.phi.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[2:]))
    module(torch.randn(2, 8, 7, 5))
    assert seen == [(3, 2)]


def test_an_unknown_affinity_is_refused():
    from attnbench.errors import UserError
    from attnbench.mechanisms.spatial.non_local import NonLocal

    with pytest.raises(UserError, match="did you mean gaussian"):
        NonLocal(8, affinity="gausian")
