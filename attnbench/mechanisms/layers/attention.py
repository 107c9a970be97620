"""Softmax attention without its (queries, keys) matrix, and pyramid pooling of keys and values.

On a CPU a block of queries at a time: memory grows with n + m, not with n m. torch's fused kernel does the
same for queries, keys and values of one width, and is slow where they are wide; `attend_rows` takes each as
it is, and is as fast as writing down the matrix of all pairs. It is one torch operator with its gradient, of
the name space `attnbench`, so that compilers and counters of operations see it as one.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

ROWS = 256  # queries of a block


def attend(
    q: Float[Tensor, "b d n"], k: Float[Tensor, "b d m"], v: Float[Tensor, "b c m"], scale: float
) -> Float[Tensor, "b c n"]:
    """For each query the mean of the values, weighted by softmax(scale q · k) over the keys.

    torch's fused kernels take equal widths only: the narrower side is filled up with zeros, which is exact.
    On a CPU our own operator takes unequal widths, in float32 at least, but not in an exported graph.
    """
    channels, width = v.shape[1], max(q.shape[1], v.shape[1])
    own = q.device.type in ("cpu", "meta") and not torch.compiler.is_exporting()
    if own and q.shape[1] != channels:
        wide = torch.promote_types(v.dtype, torch.float32)
        y = attend_rows(*(t.transpose(1, 2).contiguous().to(wide) for t in (q, k, v)), scale)
        return y.transpose(1, 2).to(v.dtype)
    q, k, v = (_tokens(t, width) for t in (q, k, v))
    y = F.scaled_dot_product_attention(q, k, v, scale=scale)
    return y[:, 0, :, :channels].transpose(1, 2)


def _tokens(t: Float[Tensor, "b d n"], width: int) -> Float[Tensor, "b 1 n width"]:
    return F.pad(t.transpose(1, 2), (0, width - t.shape[1])).contiguous()[:, None]


def pyramid(x: Float[Tensor, "b c h w"], sizes: Sequence[int]) -> Float[Tensor, "b c tokens"]:
    """The means of 1x1, 3x3, … regions that cover the map, overlapping where they do not divide it."""
    return torch.cat([F.adaptive_avg_pool2d(x, size).flatten(2) for size in sizes], 2)


@torch.library.custom_op("attnbench::attend", mutates_args=())
def attend_rows(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
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


@attend_rows.register_fake
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


attend_rows.register_autograd(_gradients, setup_context=_keep)
