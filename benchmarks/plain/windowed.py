"""Plain forms of attention within windows: every window is copied by `unfold`."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def unfolded(x: Tensor, kernel: int, mode: str = "constant") -> Tensor:
    """(b, c, h, w) -> (b, c, k k, h, w), with a border of zeros, or reflected."""
    padded = F.pad(x, 4 * (kernel // 2,), mode=mode)
    return F.unfold(padded, kernel).view(len(x), x.shape[1], kernel**2, *x.shape[2:])


def outside(x: Tensor, kernel: int) -> Tensor:
    """Whether a window's entry lies beyond the border, (k k, h, w)."""
    return unfolded(torch.ones_like(x[:1, :1]), kernel)[0, 0] == 0


def sasa(m: Any, x: Tensor) -> Tensor:
    q, k, v = m.query(x), unfolded(m.key(x), m.kernel), unfolded(m.value(x), m.kernel)
    q, k, v = (t.unflatten(1, (m.heads, -1)) for t in (q, k, v))
    at = torch.arange(m.kernel**2)
    rows, columns = (t.unflatten(0, (m.heads, -1)) for t in (m.rows, m.columns))
    relative = torch.cat((rows[..., at // m.kernel], columns[..., at % m.kernel]), 1)  # heads d t
    scores = (q[:, :, :, None] * (k + relative[..., None, None])).sum(2)
    shares = scores.masked_fill(outside(x, m.kernel), -torch.inf).softmax(2)
    return (shares[:, :, None] * v).sum(3).flatten(1, 2)


def lr_net(m: Any, x: Tensor) -> Tensor:
    likeness = -(m.query(x)[:, :, None] - unfolded(m.key(x), m.kernel)).square()
    scores = likeness.masked_fill(outside(x, m.kernel), -100.0) + m.prior()[:, :, None, None]
    shares = scores.softmax(2)
    values = unfolded(x, m.kernel).unflatten(1, (shares.shape[1], -1))
    return m.expand((shares[:, :, None] * values).sum(3).flatten(1, 2))


def san(m: Any, x: Tensor) -> Tensor:
    rows, columns = (torch.linspace(-1, 1, n, dtype=x.dtype) for n in x.shape[2:])
    places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))[None]
    places = m.position(places).expand(len(x), -1, -1, -1)
    own, others = torch.cat([m.phi(x), places], 1), torch.cat([m.psi(x), places], 1)
    differences = own[:, :, None] - unfolded(others, m.kernel, "reflect")
    shares = m.weigh(differences.flatten(3)).softmax(2).unflatten(3, x.shape[2:])
    values = unfolded(m.value(x), m.kernel, "reflect").unflatten(1, (-1, m.groups))
    y = (shares[:, None] * values).sum(3).flatten(1, 2)
    return m.expand(m.norm(y).relu())
