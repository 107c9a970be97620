"""Plain forms of channel attention."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def mean(x: Tensor) -> Tensor:
    """Global average pooling, (b, c, h, w) -> (b, c)."""
    return F.adaptive_avg_pool2d(x, 1).flatten(1)


def weighed(x: Tensor, gate: Tensor) -> Tensor:
    """x times a gate (b, c) of its channels."""
    return x * gate[:, :, None, None].expand_as(x)


def se(m: Any, x: Tensor) -> Tensor:
    return weighed(x, m.expand(m.reduce(mean(x)).relu()).sigmoid())


def eca(m: Any, x: Tensor) -> Tensor:
    return weighed(x, m.conv(mean(x)[:, None]).sigmoid()[:, 0])


def fca(m: Any, x: Tensor) -> Tensor:
    """The basis is laid out for every channel and multiplied, as in the released code."""
    pooled = x if x.shape[2:] == (m.size, m.size) else F.adaptive_avg_pool2d(x, m.size)
    basis = m.basis.repeat_interleave(x.shape[1] // len(m.basis), 0)
    spectrum = torch.sum(pooled * basis, (2, 3))
    return weighed(x, m.expand(m.reduce(spectrum).relu()).sigmoid())


def srm(m: Any, x: Tensor) -> Tensor:
    values = x.flatten(2)
    styles = torch.stack((values.mean(2), (values.var(2) + 1e-5).sqrt()), 2)
    z = (styles * m.styles).sum(2)
    return weighed(x, m.norm(z[:, :, None, None]).sigmoid().flatten(1))


def gct(m: Any, x: Tensor) -> Tensor:
    e = m.alpha * (x.pow(2).sum((2, 3), keepdim=True) + m.eps).pow(0.5)
    n = e / (e.pow(2).mean(1, keepdim=True) + m.eps).pow(0.5)
    return x * (1 + torch.tanh(m.gamma * n + m.beta))


def gsop(m: Any, x: Tensor) -> Tensor:
    """The covariance by a centring matrix of all pairs of positions, as in the released code."""
    gate = m.channel
    v = gate.norm(gate.project(x.relu())).relu().flatten(2)
    n = v.shape[2]
    centring = torch.eye(n, dtype=x.dtype) / n - torch.full((n, n), 1 / n**2, dtype=x.dtype)
    covariance = v @ centring.expand(len(v), -1, -1) @ v.transpose(1, 2)
    rows = gate.gate.rows(gate.gate.norm(covariance)[..., None])
    return weighed(x, gate.gate.excite(rows.flatten(1)).sigmoid())


def enc(m: Any, x: Tensor) -> Tensor:
    """All residuals between positions and codewords are written down."""
    values = m.norm(m.project(x)).relu().flatten(2).transpose(1, 2)
    residuals = values[:, :, None] - m.encoding.codewords
    shares = (m.encoding.scale * residuals.pow(2).sum(3)).softmax(2)
    encoders = (shares[..., None] * residuals).sum(1)
    e = m.code_norm(encoders).relu().mean(1)
    gate = m.excite(e).sigmoid()
    return (x + weighed(x, gate)).relu()


def bilinear(m: Any, x: Tensor) -> Tensor:
    """All products of two projected channels, of which half are taken."""
    p = m.embed(x)
    narrow = p.shape[1]
    outer = p[:, :, None] * p[:, None]
    pairs = [(i + k, i) for k in range(narrow) for i in range(narrow - k)]
    products = outer[:, [i for i, _ in pairs], [j for _, j in pairs]]
    return x * (m.inner(F.adaptive_avg_pool2d(products, 1)) * m.outer(products)).sigmoid()


def dia(m: Any, x: Tensor) -> Tensor:
    hidden = cell = x.new_zeros(len(x), x.shape[1])
    into, keep, new, out = (m.see(mean(x)) + m.recall(hidden)).chunk(4, 1)
    cell = keep.sigmoid() * cell + into.sigmoid() * new.tanh()
    return weighed(x, out.sigmoid() * cell.sigmoid())
