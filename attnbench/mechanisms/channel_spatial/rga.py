"""Relation-aware global attention: judge each position and each channel by its relations to all others."""

from typing import Any, Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import UserError
from attnbench.mechanisms.base import Card, Mechanism, Place

BRANCHES = ("both", "spatial", "channel")


class RGA(Mechanism):
    """y = x s r: s a gate for each position, then r a gate for each channel of x s.

    A gate is sigmoid(BN(W2 relu(BN(W1 [own feature, relations])))). The relations of item i to all n items
    are the products of an embedding of i with another of each, both ways round: 2n numbers, which a
    layer reduces to n // 8. As that layer is linear, it is multiplied with the embeddings first: no n x n
    matrix is made. The layers' widths depend on the number of positions, hence the module serves maps of one
    size only. Source: microsoft/Relation-Aware-Global-Attention-Networks. The card counts a map of 14x14.
    """

    card = Card(
        title="Relation-Aware Global Attention for Person Re-identification",
        venue="CVPR 2020",
        url="https://arxiv.org/abs/1904.02998",
        tasks=("ReID",),
        g="dot products of positions, then of channels -> 1x1 -> concatenation -> MLP -> sigmoid",
        range=(0.0, 1.0),
        soft=True,
        goals=("capture long-range dependence", "emphasise important positions and channels"),
        params=lambda c: parameters(c, 14 * 14) + parameters(14 * 14, c),
        site="stage",
    )

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        reduction: int = 8,
        branches: Literal["both", "spatial", "channel"] = "both",
    ) -> None:
        super().__init__()
        self.size = tuple(size)
        positions = size[0] * size[1]
        self.spatial = Relations(channels, positions, reduction) if branches != "channel" else None
        self.channel = Relations(positions, channels, reduction) if branches != "spatial" else None

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        return cls(place.channels, place.size, **options)

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if tuple(x.shape[2:]) != self.size:
            found = "x".join(map(str, x.shape[2:]))
            raise UserError(
                f"rga: built for maps of {self.size[0]}x{self.size[1]}, but a map of {found} came"
            )
        rows = x.flatten(2)  # b c n
        gate = rows.new_ones(1, 1, 1)
        if self.spatial is not None:
            gate = self.spatial(rows)
        if self.channel is not None:
            gate = gate * self.channel((rows * gate).transpose(1, 2)).transpose(1, 2)
        return gate.expand_as(rows).reshape(x.shape)


class Relations(nn.Module):
    """Gates (b, 1, n) for n items with d features each, given as (b, d, n)."""

    def __init__(self, features: int, items: int, reduction: int) -> None:
        super().__init__()
        hidden, related = max(features // reduction, 1), max(items // reduction, 1)
        judged = max((1 + related) // reduction, 1)
        self.own = layer(features, hidden)
        self.one = layer(features, hidden)
        self.other = layer(features, hidden)
        self.relate = nn.Conv1d(2 * items, related, 1, bias=False)
        self.relate_norm = nn.BatchNorm1d(related)
        self.judge = nn.Sequential(layer(1 + related, judged), layer(judged, 1, relu=False))
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, nn.BatchNorm1d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, x: Float[Tensor, "b d n"]) -> Float[Tensor, "b 1 n"]:
        dtype = self.relate.weight.dtype  # the products of embeddings would overflow half precision
        own, one, other = (embed(x).to(dtype) for embed in (self.own, self.one, self.other))
        with torch.autocast(x.device.type, enabled=False):
            relations = self.relate_norm(self.related(one, other)).relu()
            gate = self.judge(torch.cat((own.mean(1, keepdim=True), relations), 1))
        return torch.sigmoid(gate).to(x.dtype)

    def related(self, one: Float[Tensor, "b e n"], other: Float[Tensor, "b e n"]) -> Float[Tensor, "b r n"]:
        """W_in (one' other)' + W_out (one' other), the products with W first."""
        into, out = self.relate.weight[:, :, 0].chunk(2, 1)
        return (into @ other.transpose(1, 2)) @ one + (out @ one.transpose(1, 2)) @ other


def layer(inputs: int, outputs: int, relu: bool = True) -> nn.Sequential:
    """A linear layer on each item's features, its norm, and a ReLU."""
    layers = [nn.Conv1d(inputs, outputs, 1, bias=False), nn.BatchNorm1d(outputs)]
    return nn.Sequential(*layers, *([nn.ReLU()] if relu else []))


def parameters(features: int, items: int) -> int:
    """Learnable parameters of one kind of gate at the default reduction."""
    hidden, related = max(features // 8, 1), max(items // 8, 1)
    judged = max((1 + related) // 8, 1)
    relations = 3 * (features * hidden + 2 * hidden) + 2 * items * related + 2 * related
    return relations + (1 + related) * judged + 3 * judged + 2
