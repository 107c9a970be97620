"""Plain forms of spatial attention; attention within windows is in another file."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from attnbench.mechanisms.layers.attention import pyramid


def rows(t: Tensor) -> Tensor:
    """(b, c, h, w) -> (b, n, c)."""
    return t.flatten(2).transpose(1, 2)


def attended(q: Tensor, k: Tensor, v: Tensor, scale: float = 1.0) -> Tensor:
    """softmax(scale q · k) v, (b, n, d), the matrix of all pairs written down."""
    return ((q @ k.transpose(-2, -1)) * scale).softmax(-1) @ v


def as_map(tokens: Tensor, x: Tensor) -> Tensor:
    return tokens.transpose(1, 2).unflatten(2, x.shape[2:])


def non_local(m: Any, x: Tensor) -> Tensor:
    pooled = F.max_pool2d(x, [min(n, 2) for n in x.shape[2:]])
    q, k, v = rows(m.theta(x)), rows(m.phi(pooled)), rows(m.value(pooled))
    return x + m.norm(m.out(as_map(attended(q, k, v, m.scale), x)))


def dnl(m: Any, x: Tensor) -> Tensor:
    q, k, v = rows(m.query(x)), rows(m.key(x)), rows(m.value(x))
    q, k = (t - t.mean(1, keepdim=True) for t in (q, k))
    unary = rows(m.unary(x)).softmax(1).transpose(1, 2) @ v
    return x + as_map(m.gamma * attended(q, k, v, m.scale) + unary, x)


def vit(m: Any, x: Tensor) -> Tensor:
    tokens = rows(x)
    q, k, v = m.qkv(m.norm(tokens)).unflatten(2, (3, m.heads, -1)).permute(2, 0, 3, 1, 4)
    heads = attended(q, k, v, q.shape[3] ** -0.5)
    return as_map(tokens + m.project(heads.transpose(1, 2).flatten(2)), x)


def ccnet(m: Any, x: Tensor) -> Tensor:
    """With a mask of -inf for the second count of a position, as in the released code."""
    for _ in range(m.recurrence):
        x = m.gamma * criss_cross(m.query(x), m.key(x), m.value(x)) + x
    return x


def criss_cross(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    b, _, h, w = q.shape
    q1, k1, v1 = (t.permute(0, 3, 1, 2).flatten(0, 1) for t in (q, k, v))
    q2, k2, v2 = (t.permute(0, 2, 1, 3).flatten(0, 1) for t in (q, k, v))
    mask = -torch.diag(torch.full((h,), torch.inf, dtype=q.dtype)).expand(b * w, -1, -1)
    column = (q1.transpose(1, 2) @ k1 + mask).view(b, w, h, h).permute(0, 2, 1, 3)
    row = (q2.transpose(1, 2) @ k2).view(b, h, w, w)
    shares = torch.cat((column, row), 3).softmax(3)
    s1 = shares[..., :h].permute(0, 2, 1, 3).reshape(b * w, h, h)
    s2 = shares[..., h:].reshape(b * h, w, w)
    y1 = (v1 @ s1.transpose(1, 2)).view(b, w, -1, h).permute(0, 2, 3, 1)
    return y1 + (v2 @ s2.transpose(1, 2)).view(b, h, -1, w).permute(0, 2, 1, 3)


def ema(m: Any, x: Tensor) -> Tensor:
    """Fitted without gradients, as in the released code, which moves its bases in the training script."""
    with torch.no_grad():
        tokens = m.project(x).flatten(2)
        bases = m.bases.expand(len(x), -1, -1)
        for _ in range(m.stages):
            shares = (tokens.transpose(1, 2) @ bases).softmax(2)
            bases = tokens @ (shares / (1e-6 + shares.sum(1, keepdim=True)))
            bases = bases / (1e-6 + bases.norm(dim=1, keepdim=True))
        rebuilt = (bases @ shares.transpose(1, 2)).view(x.shape).relu()
        if m.training:
            m.bases = m.momentum * m.bases + (1 - m.momentum) * bases.mean(0, keepdim=True)
    return (x + m.norm(m.expand(rebuilt))).relu()


def context(m: Any, q: Tensor, k: Tensor, v: Tensor, x: Tensor) -> Tensor:
    """What ANN adds before its fusion: attention to the means of a pyramid, projected."""
    k, v = (pyramid(t, m.sizes).transpose(1, 2) for t in (k, v))
    return m.context(as_map(attended(rows(q), k, v, q.shape[1] ** -0.5), x))


def apnb(m: Any, x: Tensor) -> Tensor:
    compared = m.compare(x)
    found = context(m, compared, compared, m.value(x), x)
    return m.dropout(m.fuse(torch.cat([found, x], 1)))


def afnb(m: Any, x: Tensor) -> Tensor:
    found = context(m, m.query(x), m.key(x), m.value(x), x)
    return m.dropout(m.norm(m.fuse(torch.cat([found, x], 1))))


def gc(m: Any, x: Tensor) -> Tensor:
    tokens = rows(x)
    found = (tokens.transpose(1, 2) @ m.mask(tokens).softmax(1))[..., None]
    return x + m.expand(m.norm(m.reduce(found)).relu())


def a2(m: Any, x: Tensor) -> Tensor:
    gathered = m.feature(x).flatten(2) @ rows(m.gather(x)).softmax(1)
    given = gathered @ m.distribute(x).flatten(2).softmax(1)
    return x + m.expand(given.unflatten(2, x.shape[2:]))


def ge(m: Any, x: Tensor) -> Tensor:
    """The whole map by a depth-wise convolution as large as it."""
    conv, norm = m.gather
    gathered = norm(F.conv2d(x, conv.weight, groups=x.shape[1]))
    return x * F.interpolate(m.excite(gathered), x.shape[2:]).sigmoid()


def glore(m: Any, x: Tensor) -> Tensor:
    states, projection = m.state(x).flatten(2), m.project(x).flatten(2)
    nodes = states @ projection.transpose(1, 2)  # b states nodes
    nodes = (nodes + m.relate(nodes.transpose(1, 2)).transpose(1, 2)).relu()
    back = m.update(nodes) @ projection
    return x + m.norm(m.extend(back.unflatten(2, x.shape[2:])))


def ocr(m: Any, x: Tensor) -> Tensor:
    shares = m.coarse(x).flatten(2).softmax(2)
    regions = (shares @ rows(x)).transpose(1, 2)[..., None]
    q, k, v = (rows(t) for t in (m.query(x), m.key(regions), m.value(regions)))
    found = m.up(as_map(attended(q, k, v, q.shape[2] ** -0.5), x))
    return m.dropout(m.fuse(torch.cat([found, x], 1)))


def ham(m: Any, x: Tensor) -> Tensor:
    """Non-negative factors, the last step for the coefficients with its gradient."""
    z = m.lower(x).relu().flatten(2)
    with torch.no_grad():
        bases = m.start(z)
        shares = (z.transpose(1, 2) @ bases).softmax(2)
        for _ in range(m.train_steps if m.training else m.eval_steps):
            shares = shares * (z.transpose(1, 2) @ bases) / (shares @ (bases.transpose(1, 2) @ bases) + 1e-6)
            bases = bases * (z @ shares) / (bases @ (shares.transpose(1, 2) @ shares) + 1e-6)
    shares = shares * (z.transpose(1, 2) @ bases) / (shares @ (bases.transpose(1, 2) @ bases) + 1e-6)
    return (x + m.upper((bases @ shares.transpose(1, 2)).view(x.shape))).relu()


def ea(m: Any, x: Tensor) -> Tensor:
    shares = m.keys(m.project(x).flatten(2)).softmax(2)
    shares = shares / (1e-9 + shares.sum(1, keepdim=True))
    return (x + m.norm(m.expand(m.values(shares).view(x.shape)))).relu()


def psa(m: Any, x: Tensor) -> Tensor:
    """Masks of all pairs of positions by an index."""
    h, w = m.small(x.shape[2:])
    p = torch.arange(h * w)
    down = p[None] // w - p[:, None] // w + h - 1
    right = p[None] % w - p[:, None] % w + w - 1
    index = (down * (2 * w - 1) + right).expand(len(x), -1, -1)  # of the mask of p, where q is read
    moved = []
    for branch, axis in ((m.collect, 2), (m.distribute, 1)):
        z = F.interpolate(branch.reduce(x), (h, w), mode="bilinear", align_corners=True)
        shares = branch.predict(rows(branch.adapt(z))).gather(2, index).softmax(axis)
        moved.append(z.flatten(2) @ (shares.transpose(1, 2) if axis == 2 else shares))
    y = m.project(torch.cat(moved, 1).unflatten(2, (h, w)))
    return x + F.interpolate(y, x.shape[2:], mode="bilinear", align_corners=True)


def attention_gate(m: Any, x: Tensor) -> Tensor:
    near = m.theta(x)
    far = F.interpolate(m.phi(F.avg_pool2d(x, 2)), near.shape[2:], mode="bilinear")
    gate = F.interpolate(m.psi((near + far).relu()).sigmoid(), x.shape[2:], mode="bilinear")
    return m.out(gate.expand_as(x) * x)


def stn(m: Any, x: Tensor) -> Tensor:
    """torch's own grid and sampler."""
    grid = F.affine_grid(m.g(x), list(x.shape), align_corners=True)
    return F.grid_sample(x, grid, align_corners=True)


def deform_roi(m: Any, x: Tensor) -> Tensor:
    """One box, whose bins are read point by point."""
    rest = x.new_zeros(len(x), m.bins**2, 2)
    boxes = points_averaged(x, rest, m.bins, m.samples).flatten(1)
    shift = 0.1 * m.offset(boxes).unflatten(1, (2, -1)).transpose(1, 2)
    z = points_averaged(x, shift, m.bins, m.samples).unflatten(2, (m.bins, m.bins))
    return F.adaptive_avg_pool2d(z, (x.shape[2], x.shape[3]))


def points_averaged(x: Tensor, shift: Tensor, bins: int, samples: int) -> Tensor:
    """Means (b, c, bins²) of samples² points a bin, each read from its four neighbours."""
    (h, w), own = x.shape[2:], torch.arange(bins**2)
    step = torch.arange(samples, dtype=x.dtype) / (bins * samples)
    own_row, own_column = (own // bins).to(x.dtype) / bins, (own % bins).to(x.dtype) / bins
    rows = -0.5 + (own_row + shift[..., 1])[..., None] * h + step * h  # b m s
    columns = -0.5 + (own_column + shift[..., 0])[..., None] * w + step * w
    kept = ((rows >= -0.5) & (rows <= h - 0.5))[..., None] & ((columns >= -0.5) & (columns <= w - 0.5))[
        :, :, None
    ]
    rows, columns = rows.clamp(0, h - 1), columns.clamp(0, w - 1)
    y, x_ = (2 * rows / max(h - 1, 1) - 1)[..., None], (2 * columns / max(w - 1, 1) - 1)[:, :, None]
    grid = torch.stack(torch.broadcast_tensors(x_, y), -1).flatten(2, 3)  # b m s·s 2
    read = F.grid_sample(x, grid, align_corners=True, padding_mode="border") * kept.flatten(2)[:, None]
    return read.sum(3) / kept.flatten(2).sum(2).clamp(min=1)[:, None]
