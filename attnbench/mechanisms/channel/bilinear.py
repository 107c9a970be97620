"""Bilinear attention: weigh channels and positions by the products of all pairs of projected channels."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism
from attnbench.mechanisms.layers.norm import PooledBatchNorm
from attnbench.mechanisms.layers.precision import matched


class Bilinear(Mechanism):
    """g = sigmoid(inner(GAP(q)) outer(q)), where q holds the pairwise products of p = embed(x).

    Each of embed (c to c // reduction channels), inner and outer (pairs to c channels) is a 1x1
    convolution with bias, BN and ReLU; so the map, (b, c, h, w), never falls below 1/2. q has one entry
    a pair: the squares first, then neighbours, and so on. Its mean is the Gram matrix of p. The products
    are formed in float32. Parameters grow as c^3: 34 M at 2048 channels unless reduction grows too.
    Training needs two images a batch.
    Source: PengfeiFANGanu/Attention-in-Attention-Networks (the extension's code; no other was released).
    """

    card = Card(
        title="Bilinear Attention Networks for Person Retrieval",
        venue="ICCV 2019",
        url="https://openaccess.thecvf.com/content_ICCV_2019/html/Fang_Bilinear_Attention_Networks_for_Person_Retrieval_ICCV_2019_paper.html",
        tasks=("ReID",),
        g="bilinear pooling of phi(X), upper triangle -> gate from GAP -> sigmoid",
        range=(0.5, 1.0),
        soft=True,
        goals=("emphasise important channels", "capture global information"),
        params=lambda c: (lambda k: c * k + 3 * k + k * (k + 1) * c + 6 * c)(max(c // 16, 1)),
        site="between",
    )

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        narrow = max(channels // reduction, 1)
        pairs = narrow * (narrow + 1) // 2
        self.embed = layer(channels, narrow)
        self.inner = layer(pairs, channels)
        self.outer = layer(pairs, channels)

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        p = self.embed(x)
        with torch.autocast(x.device.type, enabled=False):
            p = p.to(torch.promote_types(p.dtype, torch.float32))
            narrow = p.shape[1]
            flat = p.flatten(2)
            gram = flat @ flat.transpose(1, 2) / flat.shape[2]
            mean = torch.cat([gram.diagonal(-k, 1, 2) for k in range(narrow)], 1)
            products = torch.cat([p[:, k:] * p[:, : narrow - k] for k in range(narrow)], 1)
            inner = self.inner(matched(mean, self.inner)[:, :, None, None])
            gate = inner * self.outer(matched(products, self.outer))
        return gate.sigmoid_().to(x.dtype)


def layer(inputs: int, outputs: int) -> nn.Sequential:
    """A 1x1 convolution with bias, BN and ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1), PooledBatchNorm(outputs), nn.ReLU(inplace=True))
