"""Softmax attention on a CPU, a block of queries at a time: memory grows with n + m, not with n m.

torch's fused kernel does the same for queries, keys and values of one width, and is slow where they are wide;
this takes each as it is, and is as fast as writing down the matrix of all pairs. One torch operator with its
gradient, of the name space `attnbench`, so that compilers and counters of operations see it as one.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

ROWS = 256  # queries of a block


@torch.library.custom_op("attnbench::attend", mutates_args=())
def attend(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """softmax(scale q · k) v over the keys: (b n d), (b m d), (b m c) -> (b n c)."""
    out = query.new_empty(*query.shape[:2], value.shape[2])
    with torch.autocast(query.device.type, enabled=False):
        for image, rows in _blocks(query):
            shares = (query[image, rows] * scale) @ key[image].T
            torch.mm(torch.softmax(shares, 1), value[image], out=out[image, rows])
    return out


@torch.library.custom_op("attnbench::attend_back", mutates_args=())
def _back(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of query, key and value; the shares are made once more."""
    of_query, of_key, of_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
    level = (grad * out).sum(2, keepdim=True)
    with torch.autocast(query.device.type, enabled=False):
        for image, rows in _blocks(query):
            scaled, dy = query[image, rows] * scale, grad[image, rows]
            shares = torch.softmax(scaled @ key[image].T, 1)
            of_value[image].addmm_(shares.T, dy)
            of_scores = (dy @ value[image].T).sub_(level[image, rows]).mul_(shares)
            torch.mm(of_scores, key[image], out=of_query[image, rows]).mul_(scale)
            of_key[image].addmm_(of_scores.T, scaled)
    return of_query, of_key, of_value


def _blocks(query: Tensor) -> Iterator[tuple[int, slice]]:
    """Each image's blocks of rows."""
    for image in range(len(query)):
        for start in range(0, query.shape[1], ROWS):
            yield image, slice(start, start + ROWS)


@attend.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    return query.new_empty(*query.shape[:2], value.shape[2])


@_back.register_fake
def _(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.scale = inputs
    ctx.save_for_backward(*tensors, output)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_back(grad.contiguous(), *ctx.saved_tensors, ctx.scale), None


attend.register_autograd(_gradients, setup_context=_keep)
