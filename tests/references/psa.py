"""Point-wise spatial attention, from its equations, in NumPy."""

import numpy as np
import pytest
import torch

from tests.references._layers import softmax
from tests.references.apnb import conv_norm_relu

CASES = [{}, {"mask": 3}, {"mask": 9, "reduction": 2}, {"shrink": 1, "mask": 5}]
CHANNELS = 16
COUNTS = [(2048, {"mask": 59}, 8_291_328), (256, {"mask": 13}, 96_384)]
BRANCH = [(64, 256), (64,), (64,), (64, 64), (64,), (64,), (169, 64)]
OFFICIAL = (256, {"mask": 13}, [*BRANCH, *BRANCH, (256, 128), (256,), (256,)])


def interpolated(x, size):
    """Bilinearly, the corners kept in place."""
    for axis, n in ((2, size[0]), (3, size[1])):
        length = x.shape[axis]
        at = np.arange(n) * (length - 1) / max(n - 1, 1)
        low = np.minimum(at.astype(int), max(length - 2, 0))
        part = (at - low).reshape((-1, 1) if axis == 2 else (1, -1))
        x = x.take(low, axis) * (1 - part) + x.take(np.minimum(low + 1, length - 1), axis) * part
    return x


def pairs(masks, mask, h, w):
    """t (b, h, w, h, w): what a position's mask says of each other, 0 beyond the mask."""
    t = np.zeros((len(masks), h, w, h, w))
    for i in range(h):
        for j in range(w):
            for r in range(h):
                for s in range(w):
                    a, e = r - i + mask[0] // 2, s - j + mask[1] // 2
                    if 0 <= a < mask[0] and 0 <= e < mask[1]:
                        t[:, i, j, r, s] = masks[:, a * mask[1] + e, i, j]
    return t.reshape(len(masks), h * w, h * w)


def forward(x, p, options, training):
    shrink = options.get("shrink", 2)
    h, w = ((n - 1) // shrink + 1 for n in x.shape[2:])
    mask = 2 * (options["mask"],) if "mask" in options else (2 * h - 1, 2 * w - 1)
    moved = []
    for name, axis in (("collect", 2), ("distribute", 1)):
        z = interpolated(conv_norm_relu(x, p, f"{name}.reduce", training), (h, w))
        adapted = conv_norm_relu(z, p, f"{name}.adapt", training)
        t = pairs(np.einsum("bdhw,md->bmhw", adapted, p[f"{name}.predict.weight"]), mask, h, w)
        a = softmax(t, axis)
        collect = np.einsum("bdq,bpq->bdp", z.reshape(*z.shape[:2], -1), a)
        distribute = np.einsum("bdp,bpq->bdq", z.reshape(*z.shape[:2], -1), a)
        moved.append((collect if name == "collect" else distribute).reshape(z.shape))
    y = conv_norm_relu(np.concatenate(moved, 1), p, "project", training)
    return x + interpolated(y, x.shape[2:])


def test_masks_read_by_strides_are_those_read_by_index_with_their_gradients():
    from attnbench.mechanisms.spatial.psa import paired

    h, w, mask = 4, 3, (7, 5)
    drawn = torch.randn(2, h * w, 35, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows, columns = (
        part.flatten() for part in torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    )
    index = (rows - rows[:, None] + h - 1) * mask[1] + columns - columns[:, None] + w - 1
    results = []
    for read in (
        lambda t: paired(t, mask, (h, w), 2),
        lambda t: t.gather(2, index.expand(2, -1, -1)).softmax(2),
    ):
        masks = drawn.clone().requires_grad_()
        pair = read(masks)
        (pair * torch.linspace(-1, 1, pair.numel(), dtype=torch.float64).view(pair.shape)).sum().backward()
        results.append((pair, masks.grad))
    for ours, plain in zip(*results):
        torch.testing.assert_close(ours, plain)


def test_shares_add_up_to_one_over_the_givers():
    """In both directions, what a position receives."""
    from attnbench.checks import suite
    from attnbench.mechanisms.spatial.psa import PSA

    case = suite.Case(PSA, channels=16)
    g = case.trained().g(case.x())
    torch.testing.assert_close(g.sum(3), torch.ones_like(g[..., 0]))


def test_even_masks_are_refused():
    from attnbench.errors import UserError
    from attnbench.mechanisms.spatial.psa import PSA

    with pytest.raises(UserError, match="mask=4"):
        PSA(16, (8, 8), mask=4)
