"""Plain forms of channel and spatial attention together."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.plain.channel import mean, weighed
from benchmarks.plain.spatial import as_map, attended, rows


def cbam(m: Any, x: Tensor) -> Tensor:
    pools = mean(x), F.adaptive_max_pool2d(x, 1).flatten(1)
    x = weighed(x, sum(m.expand(m.reduce(pooled).relu()) for pooled in pools).sigmoid())
    pooled = torch.cat((x.max(1, keepdim=True)[0], x.mean(1, keepdim=True)), 1)
    return x * m.norm(convolved(m.conv, pooled)).sigmoid().expand_as(x)


def convolved(conv: Any, x: Tensor) -> Tensor:
    """The convolution by torch's own kernel."""
    return F.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding)


def bam(m: Any, x: Tensor) -> Tensor:
    z = m.norm(m.reduce(mean(x))[:, :, None, None]).relu().flatten(1)
    channel = m.expand(z)[:, :, None, None].expand_as(x)
    return x * (1 + (channel * m.spatial(x).expand_as(x)).sigmoid())


def coord(m: Any, x: Tensor) -> Tensor:
    h, w = x.shape[2:]
    of_rows = F.adaptive_avg_pool2d(x, (h, 1))
    of_columns = F.adaptive_avg_pool2d(x, (1, w)).transpose(2, 3)
    z = F.hardswish(m.norm(m.reduce(torch.cat((of_rows, of_columns), 2))))
    a, b = z.split((h, w), 2)
    return x * m.rows(a).sigmoid() * m.columns(b.transpose(2, 3)).sigmoid()


def danet(m: Any, x: Tensor) -> Tensor:
    p = m.position
    position = as_map(attended(rows(p.query(x)), rows(p.key(x)), rows(p.value(x))), x)
    values = x.flatten(2)
    energy = values @ values.transpose(1, 2)
    energy = energy.max(2, keepdim=True)[0].expand_as(energy) - energy
    channel = (energy.softmax(2) @ values).view(x.shape)
    return x + p.gamma * position + m.channel.gamma * channel


def ema_multi_scale(m: Any, x: Tensor) -> Tensor:
    b, _, h, w = x.shape
    grouped = x.reshape(b * m.groups, -1, h, w)
    strips = torch.cat(
        (F.adaptive_avg_pool2d(grouped, (h, 1)), F.adaptive_avg_pool2d(grouped, (1, w)).transpose(2, 3)), 2
    )
    of_rows, of_columns = m.reduce(strips).split((h, w), 2)
    one = m.norm(grouped * of_rows.sigmoid() * of_columns.transpose(2, 3).sigmoid())
    two = m.local(grouped)
    scores = mean(one).softmax(1)[:, None] @ two.flatten(2) + mean(two).softmax(1)[:, None] @ one.flatten(2)
    return (grouped * scores.view(-1, 1, h, w).sigmoid()).view(x.shape)


def lka(m: Any, x: Tensor) -> Tensor:
    return m.mix(m.dilated(m.local(x))) * x


def spm(m: Any, x: Tensor) -> Tensor:
    """Strips are pooled and spread as maps of the full size."""
    h, w = x.shape[2:]
    of_rows = m.rows_norm(m.rows(F.adaptive_avg_pool2d(x, (h, 1)))).expand_as(x)
    of_columns = m.columns_norm(m.columns(F.adaptive_avg_pool2d(x, (1, w)))).expand_as(x)
    return x * m.expand((of_rows + of_columns).relu()).sigmoid()


def mpm(m: Any, x: Tensor) -> Tensor:
    size = (h, w) = x.shape[2:]
    shorter = min(size)
    sides = (20, 12) if shorter >= 20 else (max(shorter // 2, 1), max(shorter // 4, 1))

    def spread(z: Tensor) -> Tensor:
        return F.interpolate(z, size, mode="bilinear", align_corners=True)

    z = m.reduce_pyramid(x)
    coarse = [b(F.adaptive_avg_pool2d(z, n)) for b, n in zip((m.middle, m.coarse), sides)]
    pyramid = m.pyramid((m.fine(z) + spread(coarse[0]) + spread(coarse[1])).relu())
    z = m.reduce_strips(x)
    of_columns = spread(m.columns(F.adaptive_avg_pool2d(z, (1, w))))
    of_rows = spread(m.rows(F.adaptive_avg_pool2d(z, (h, 1))))
    strips = m.strips((of_columns + of_rows).relu())
    return (x + m.expand(torch.cat((pyramid, strips), 1))).relu()


def residual_attention(m: Any, x: Tensor) -> Tensor:
    mask = m.mask(m.hourglass(x)).sigmoid()
    return x + mask * x


def rga(m: Any, x: Tensor) -> Tensor:
    """The relations of all pairs, both ways round, are written down."""
    values = x.flatten(2)
    values = values * related(m.spatial, values)
    values = values * related(m.channel, values.transpose(1, 2)).transpose(1, 2)
    return values.view(x.shape)


def related(m: Any, x: Tensor) -> Tensor:
    pairs = m.one(x).transpose(1, 2) @ m.other(x)
    relations = m.relate_norm(m.relate(torch.cat((pairs.transpose(1, 2), pairs), 1))).relu()
    return m.judge(torch.cat((m.own(x).mean(1, keepdim=True), relations), 1)).sigmoid()


def sca_cnn(m: Any, x: Tensor) -> Tensor:
    c, n = x.shape[1], x.shape[2] * x.shape[3]
    state = m.guess(mean(x)).tanh()
    beta = score(m.channel, mean(x)[:, :, None], state).softmax(1)
    x = c * weighed(x, beta)
    alpha = score(m.position, rows(x), state).softmax(1)
    return n * x * alpha.view(-1, 1, *x.shape[2:])


def score(m: Any, items: Tensor, state: Tensor) -> Tensor:
    return m.score((m.item(items) + m.state(state)[:, None]).tanh()).squeeze(2)


def scse(m: Any, x: Tensor) -> Tensor:
    channel = weighed(x, m.expand(m.reduce(mean(x)).relu()).sigmoid())
    return torch.max(channel, x * m.score(x).sigmoid().expand_as(x))


def simam(m: Any, x: Tensor) -> Tensor:
    apart = (x - x.mean((2, 3), keepdim=True)).pow(2)
    variance = apart.sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3] - 1)
    return x * (apart / (4 * (variance + m.lam)) + 0.5).sigmoid()


def triplet(m: Any, x: Tensor) -> Tensor:
    """The map is turned round for each of its axes."""

    def gated(gate: Any, t: Tensor) -> Tensor:
        conv, norm, _ = gate
        pooled = torch.cat((t.max(1, keepdim=True)[0], t.mean(1, keepdim=True)), 1)
        return t * norm(convolved(conv, pooled)).sigmoid()

    turned = x.permute(0, 2, 1, 3).contiguous()
    of_cw = gated(m.channel_width, turned).permute(0, 2, 1, 3).contiguous()
    turned = x.permute(0, 3, 2, 1).contiguous()
    of_hc = gated(m.height_channel, turned).permute(0, 3, 2, 1).contiguous()
    return (gated(m.height_width, x) + of_cw + of_hc) / 3
