"""Plain forms of branch attention, and of what else stands instead of a convolution without windows."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.plain.channel import mean


def sk(m: Any, x: Tensor) -> Tensor:
    views = torch.stack([view(x).relu() for view in m.branches], 1)  # b m c h w
    z = m.norm(m.reduce(mean(views.sum(1)))[:, :, None, None]).relu().flatten(1)
    shares = m.select(z).unflatten(1, (views.shape[1], -1)).softmax(1)
    return (views * shares[..., None, None]).sum(1)


def mixed(kernels: Any, shares: Tensor, x: Tensor) -> Tensor:
    """Image by image, a convolution with its own kernel."""
    settings = kernels.stride, kernels.padding, kernels.dilation, kernels.groups
    images = []
    for share, image in zip(shares, x):
        weight = (share[:, None] * kernels.weight).sum(0).view(kernels.shape)
        images.append(F.conv2d(image[None], weight, None, *settings))
    return torch.cat(images)


def condconv(m: Any, x: Tensor) -> Tensor:
    return mixed(m.kernels, m.routing.linear(mean(x)).sigmoid(), x)


def dynamic_conv(m: Any, x: Tensor) -> Tensor:
    shares = (m.expand(m.reduce(mean(x)).relu()) / m.temperature).softmax(1)
    return mixed(m.kernels, shares, x)


def highway(m: Any, x: Tensor) -> Tensor:
    gate = m.gate(x).sigmoid()
    return m.transform(x).relu() * gate + x * (1 - gate)


def resnest(m: Any, x: Tensor) -> Tensor:
    splits = m.norm(m.conv(x)).relu().unflatten(1, (m.radix, -1))  # b r d h w
    pooled = F.adaptive_avg_pool2d(splits.sum(1), 1)
    logits = m.expand(m.hidden_norm(m.reduce(pooled)).relu())
    shares = logits.unflatten(1, (m.groups, m.radix, -1)).transpose(1, 2).softmax(1).flatten(2, 3)
    return (splits * shares).sum(1)


def sc(m: Any, x: Tensor) -> Tensor:
    a, b = x.split(m.halves, 1)
    context = m.context_norm(m.context(F.avg_pool2d(b, m.pool)))
    gate = (b + F.interpolate(context, b.shape[2:])).sigmoid()
    return torch.cat((m.plain(a), m.calibrated(m.content_norm(m.content(b)) * gate)), 1)


def dcn(m: Any, x: Tensor) -> Tensor:
    """torchvision's operator."""
    from torchvision.ops import deform_conv2d

    z = m.offset(x)
    offsets, masks = z.split((2 * m.groups * m.taps, m.groups * m.taps), 1)
    conv = m.conv
    settings = conv.stride, conv.padding, conv.dilation
    return deform_conv2d(x, offsets, conv.weight, conv.bias, *settings, m.most * masks.sigmoid())
