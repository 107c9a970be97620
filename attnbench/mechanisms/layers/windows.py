"""Attention within k x k windows, from shifted views of a padded map, without the k²-fold copy of `unfold`.

Three operators with their gradients. Window offsets t run row by row; a padded map (b, g, d, H, W) is larger
than the h x w queries by k - 1 positions (or as the stride asks). They are torch operators of the name
space `attnbench`, so that compilers and counters of operations see each of them as one; an exported graph
has their plain forms, which other programs can run.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

PART = 1 << 18  # numbers that are worked on at a time on a CPU, so that they stay in its cache


def scores(q: Tensor, k: Tensor, kernel: int, stride: int = 1) -> Tensor:
    """Dot products over d of queries (b g d h w) with keys (b g d H W) -> (b g t h w)."""
    if torch.compiler.is_exporting():
        return torch.stack([(q * shifted).sum(2) for shifted in _shifts(k, kernel, stride, q.shape[3:])], 2)
    return _scores(q, k, kernel, stride)


def weighted_sum(w: Tensor, v: Tensor, kernel: int, stride: int = 1) -> Tensor:
    """Sums over t of values (b g d H W), weighted by w (b g t h w) -> (b g d h w)."""
    if torch.compiler.is_exporting():
        shifts = enumerate(_shifts(v, kernel, stride, w.shape[3:]))
        return torch.stack([w[:, :, t, None] * shifted for t, shifted in shifts]).sum(0)
    return _weighted_sum(w, v, kernel, stride)


def neighbours(x: Tensor, kernel: int, stride: int = 1) -> Tensor:
    """The windows' entries: (b c H W) -> (b c t h w)."""
    if torch.compiler.is_exporting():
        return torch.stack(list(_shifts(x, kernel, stride, _size(x, kernel, stride))), 2)
    return _neighbours(x, kernel, stride)


@torch.library.custom_op("attnbench::window_scores", mutates_args=())
def _scores(q: Tensor, k: Tensor, kernel: int, stride: int = 1) -> Tensor:
    """The operator of `scores`."""
    out = q.new_empty(*q.shape[:2], kernel**2, *q.shape[3:])
    for part in _parts(q):
        product = torch.empty_like(q[part])
        for t, shifted in enumerate(_shifts(k[part], kernel, stride, q.shape[3:])):
            torch.mul(q[part], shifted, out=product)
            torch.sum(product, 2, out=out[part, :, t])
    return out


@torch.library.custom_op("attnbench::window_sum", mutates_args=())
def _weighted_sum(w: Tensor, v: Tensor, kernel: int, stride: int = 1) -> Tensor:
    """The operator of `weighted_sum`."""
    out = v.new_zeros(*v.shape[:3], *w.shape[3:])
    for part in _parts(out):
        for t, shifted in enumerate(_shifts(v[part], kernel, stride, w.shape[3:])):
            out[part].addcmul_(w[part, :, t, None], shifted)
    return out


@torch.library.custom_op("attnbench::window_spread", mutates_args=())
def _spread(w: Tensor, y: Tensor, kernel: int, stride: int, height: int, width: int) -> Tensor:
    """The adjoint of both: y (b g d h w) times w (b g t h w), added up where it came from -> (b g d H W)."""
    out = y.new_zeros(*y.shape[:3], height, width)
    for part in _parts(y):
        for t, shifted in enumerate(_shifts(out[part], kernel, stride, y.shape[3:])):
            shifted.addcmul_(w[part, :, t, None], y[part])
    return out


@torch.library.custom_op("attnbench::window_neighbours", mutates_args=())
def _neighbours(x: Tensor, kernel: int, stride: int = 1) -> Tensor:
    """The operator of `neighbours`."""
    h, w = _size(x, kernel, stride)
    out = x.new_empty(*x.shape[:2], kernel**2, h, w)
    for t, shifted in enumerate(_shifts(x, kernel, stride, (h, w))):
        out[:, :, t] = shifted
    return out


@torch.library.custom_op("attnbench::window_join", mutates_args=())
def _join(y: Tensor, stride: int, height: int, width: int) -> Tensor:
    """The adjoint of `neighbours`: (b c t h w) -> (b c H W)."""
    out = y.new_zeros(*y.shape[:2], height, width)
    kernel = round(y.shape[2] ** 0.5)
    for t, shifted in enumerate(_shifts(out, kernel, stride, y.shape[3:])):
        shifted += y[:, :, t]
    return out


def _size(padded: Tensor, kernel: int, stride: int) -> tuple[int, int]:
    """Height and width of the map of windows in a padded map (b c H W)."""
    height, width = padded.shape[2:]
    return (height - kernel) // stride + 1, (width - kernel) // stride + 1


def _shifts(padded: Tensor, kernel: int, stride: int, size: Any) -> Iterator[Tensor]:
    """Views of the padded map: for each offset, the entry that each of h x w windows has there."""
    h, w = (stride * (n - 1) + 1 for n in size)
    for i in range(kernel):
        for j in range(kernel):
            yield padded[..., i : i + h : stride, j : j + w : stride]


def _parts(x: Tensor) -> Iterator[slice]:
    """Slices of the batch."""
    count = max(PART // max(x[0].numel(), 1), 1) if x.device.type == "cpu" else len(x)
    for start in range(0, len(x), count):
        yield slice(start, start + count)


# What the operators return, for compilers, and their gradients


@_scores.register_fake
def _(q: Tensor, k: Tensor, kernel: int, stride: int = 1) -> Tensor:
    return q.new_empty(*q.shape[:2], kernel**2, *q.shape[3:])


@_weighted_sum.register_fake
def _(w: Tensor, v: Tensor, kernel: int, stride: int = 1) -> Tensor:
    return v.new_empty(*v.shape[:3], *w.shape[3:])


@_spread.register_fake
def _(w: Tensor, y: Tensor, kernel: int, stride: int, height: int, width: int) -> Tensor:
    return y.new_empty(*y.shape[:3], height, width)


@_neighbours.register_fake
def _(x: Tensor, kernel: int, stride: int = 1) -> Tensor:
    return x.new_empty(*x.shape[:2], kernel**2, *_size(x, kernel, stride))


@_join.register_fake
def _(y: Tensor, stride: int, height: int, width: int) -> Tensor:
    return y.new_empty(*y.shape[:2], height, width)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    first, padded, ctx.kernel, ctx.stride = inputs
    ctx.save_for_backward(first, padded)


def _of_scores(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    q, k = ctx.saved_tensors
    window = ctx.kernel, ctx.stride
    of_q = weighted_sum(grad, k, *window) if ctx.needs_input_grad[0] else None
    of_k = _spread(grad, q, *window, *k.shape[3:]) if ctx.needs_input_grad[1] else None
    return of_q, of_k, None, None


def _of_sum(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    w, v = ctx.saved_tensors
    window = ctx.kernel, ctx.stride
    of_w = scores(grad, v, *window) if ctx.needs_input_grad[0] else None
    of_v = _spread(w, grad, *window, *v.shape[3:]) if ctx.needs_input_grad[1] else None
    return of_w, of_v, None, None


def _keep_size(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, _, ctx.stride = inputs
    ctx.size = x.shape[2:]


def _of_neighbours(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return _join(grad, ctx.stride, *ctx.size), None, None


_scores.register_autograd(_of_scores, setup_context=_keep)
_weighted_sum.register_autograd(_of_sum, setup_context=_keep)
_neighbours.register_autograd(_of_neighbours, setup_context=_keep_size)
