"""STGCN: graph convolutions among the stripes of all frames, and among those of each frame."""

from itertools import pairwise
from typing import Any, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import Impossible, UserError
from attnbench.mechanisms.base import Card, Place
from attnbench.mechanisms.layers.clip_head import ClipHead, classes_of, demand_frames, frames_of
from attnbench.mechanisms.layers.precision import full_precision

TINY = 1e-12  # below which a sum is that of a dead map


class STGCN(ClipHead):
    """[max over all stripes of X, max over each frame's stripes of Y, GAP(x)], and a linear classifier.

    Nodes are the means of `stripes` horizontal stripes of each frame. A_ij = e_ij² / Σ_j e_ij² with
    e_ij = φ(x_i) · φ(x_j). A's rows add up to 1, so that the normalised D^-½ (A + I) D^-½ is (A + I) / 2
    to the last digit. Temporal branch: X = leaky(LN(½ (A + I) X W)) on all nodes, `layers` times, a
    shortcut around all but the first. Structural branch: the same without shortcuts on the stripes of one
    frame, A being of e among these, to `width` channels (None: c // 8, the paper's 256 at 2048), frame i
    with W_i of its own: the number of frames is part of the weights. `shared=True` gives all frames one W.

    No code was released (the repository of that name has no graph); the equations are known at second
    hand. Layers, stripes, the slope, LayerNorm, one φ for both branches and one classifier on the whole
    vector are our reading; the paper's losses on each branch are left out.
    """

    card = Card(
        title="Spatial-Temporal Graph Convolutional Network for Video-Based Person Re-Identification",
        venue="CVPR 2020",
        url="https://openaccess.thecvf.com/content_CVPR_2020/html/Yang_Spatial-Temporal_Graph_Convolutional"
        "_Network_for_Video-Based_Person_Re-Identification_CVPR_2020_paper.html",
        tasks=("ReID",),
        g="pairwise similarity of patches in space and time -> graph of patches",
        range=(0.0, 1.0),
        soft=True,
        goals=("relate patches of all frames",),
        params=lambda c: (lambda k: 3 * c * c + 4 * c + 8 * k * (c + k) + 4 * k + (2 * c + 8 * k + 1) * 10)(
            max(c // 8, 1)
        ),
        site="head",
    )

    def __init__(
        self,
        channels: int,
        classes: int,
        frames: int,
        stripes: int = 4,
        layers: int = 2,
        structural: int = 2,
        width: int | None = None,
        slope: float = 0.1,
        shared: bool = False,
    ) -> None:
        super().__init__()
        width = max(channels // 8, 1) if width is None else width
        own = 1 if shared else frames
        self.frames, self.stripes, self.slope, self.shared = frames, stripes, slope, shared
        self.phi = nn.Linear(channels, channels, bias=False)
        self.temporal = nn.ModuleList(Layer(channels, channels, 1, slope) for _ in range(layers))
        widths = [channels] + [width] * structural
        self.structural = nn.ModuleList(Layer(a, b, own, slope) for a, b in pairwise(widths))
        self.classify = nn.Linear(2 * channels + frames * width, classes)

    @classmethod
    def at(cls, place: Place, stripes: int = 4, **options: Any) -> Self:
        if place.size[0] < stripes:
            raise Impossible(f"height {place.size[0]} is less than {stripes} stripes (attn.stripes)")
        return cls(place.channels, classes_of(place), frames_of(place), stripes, **options)

    def nodes(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t p c"]:
        """The means of each frame's stripes, which overlap by a row where the height does not divide."""
        demand_frames("stgcn", x, self.frames)
        if x.shape[3] < self.stripes:
            raise UserError(f"stgcn: a map {x.shape[3]} high has no {self.stripes} stripes")
        pooled = F.adaptive_avg_pool2d(x.flatten(0, 1), (self.stripes, 1))
        return pooled[..., 0].transpose(1, 2).unflatten(0, x.shape[:2])

    def graph(self, nodes: Float[Tensor, "b t p c"]) -> Float[Tensor, "b n n"]:
        return affinity(self.phi(nodes.flatten(1, 2)))

    def features(
        self, graph: Float[Tensor, "b n n"], nodes: Float[Tensor, "b t p c"], x: Float[Tensor, "b t c h w"]
    ) -> Float[Tensor, "b d"]:
        """The three branches' vectors, one after the other."""
        frames, stripes = nodes.shape[1:3]
        z = nodes.flatten(1, 2)[:, None]
        for index, layer in enumerate(self.temporal):
            z = layer(graph[:, None], z) + (z if index else 0)
        blocks = graph.view(-1, frames, stripes, frames, stripes).diagonal(dim1=1, dim2=3).movedim(3, 1)
        blocks = blocks / blocks.sum(3, keepdim=True).clamp(min=TINY)
        y = nodes
        for layer in self.structural:
            y = layer(blocks, y)
        return torch.cat([z[:, 0].amax(1), y.amax(2).flatten(1), x.mean((1, 3, 4))], 1)

    def g(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b n n"]:
        """A among all stripes; that among a frame's stripes is its block, rows normalised anew."""
        return self.graph(self.nodes(x))

    def read(self, g: Float[Tensor, "b n n"], x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        return self.features(g, self.nodes(x), x)

    def embed(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        nodes = self.nodes(x)
        return self.features(self.graph(nodes), nodes, x)


class Layer(nn.Module):
    """leaky(LN(½ (A + I) X W)) of graphs A (b g n n) and nodes X (b g n c), with one W or one a graph."""

    def __init__(self, channels: int, out: int, graphs: int, slope: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(graphs, channels, out))
        self.norm = nn.LayerNorm(out)
        self.slope = slope
        for weight in self.weight:
            nn.init.xavier_uniform_(weight)

    def forward(
        self, graph: Float[Tensor, "b g n n"], x: Float[Tensor, "b g n c"]
    ) -> Float[Tensor, "b g n d"]:
        moved = x @ self.weight
        spread = (graph.to(moved.dtype) @ moved + moved) / 2
        return F.leaky_relu(self.norm(spread), self.slope)


@full_precision
def affinity(z: Float[Tensor, "b n c"]) -> Float[Tensor, "b n n"]:
    """Squared dot products of the nodes, as shares of their row."""
    e = (z @ z.transpose(1, 2)).square()
    return e / e.sum(2, keepdim=True).clamp(min=TINY)
