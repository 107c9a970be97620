"""Softmax attention without its (queries, keys) matrix, for channels-first maps."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from attnbench.mechanisms.layers import attention


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
        y = attention.attend(*(t.transpose(1, 2).contiguous().to(wide) for t in (q, k, v)), scale)
        return y.transpose(1, 2).to(v.dtype)
    q, k, v = (_tokens(t, width) for t in (q, k, v))
    y = F.scaled_dot_product_attention(q, k, v, scale=scale)
    return y[:, 0, :, :channels].transpose(1, 2)


def _tokens(t: Float[Tensor, "b d n"], width: int) -> Float[Tensor, "b 1 n width"]:
    return F.pad(t.transpose(1, 2), (0, width - t.shape[1])).contiguous()[:, None]
