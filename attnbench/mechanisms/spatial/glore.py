"""GloRe: carry the map to a graph of a few nodes, reason there, and carry the outcome back."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.mechanisms.base import Card, Mechanism
from attnbench.mechanisms.layers.precision import full_precision, matched, narrowed


class GloRe(Mechanism):
    """x + BN(W_e V' P): nodes V = (W_s x) P^T, P = W_p x, V' = W_2 relu(V + W_1 V) along nodes, then states.

    g is P, one map a node, without a softmax; carrying there and back uses the same P. c // reduction nodes
    with twice as many states. `normalize` divides the nodes by the number of positions: for inputs of
    varying size. All products with P are cubic in x in sum; beyond float16's range the result is its
    largest number. The code's norm starts with weight 1, its comment says 0. forward carries x itself to
    the nodes and projects the nodes instead of all positions, in both directions, which is exact. The paper's
    best ResNet-50 has three, behind every other block of the last stage but one.
    Source: facebookresearch/GloRe.
    """

    card = Card(
        title="Graph-Based Global Reasoning Networks",
        venue="CVPR 2019",
        url="https://arxiv.org/abs/1811.12814",
        tasks=("Cls", "SSeg", "Action"),
        g="projection to a graph's nodes -> graph convolution -> projection back",
        range=None,
        soft=True,
        goals=("capture long-range dependencies", "reason on relations between regions"),
        params=lambda c: (lambda n: 5 * c * n + 5 * n * n + 4 * n + 2 * c)(max(c // 4, 1)),
        site=("head", "three_late", "late"),
    )

    def __init__(self, channels: int, reduction: int = 4, normalize: bool = False) -> None:
        super().__init__()
        nodes = max(channels // reduction, 1)
        states = 2 * nodes
        self.state = nn.Conv2d(channels, states, 1)
        self.project = nn.Conv2d(channels, nodes, 1)
        self.relate = nn.Conv1d(nodes, nodes, 1)
        self.update = nn.Conv1d(states, states, 1, bias=False)
        self.extend = nn.Conv2d(states, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels, eps=1e-4)
        for layer in (self.state, self.project, self.relate, self.update, self.extend):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        self.normalize = normalize

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b nodes n"]:
        return self.project(x).flatten(2)

    def f(self, g: Float[Tensor, "b nodes n"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        nodes = g @ self.state(x).flatten(2).transpose(1, 2)
        back = self.reasoned(nodes / g.shape[2] if self.normalize else nodes).transpose(1, 2) @ g
        return x + self.norm(self.extend(back.unflatten(2, x.shape[2:])))

    def reasoned(self, nodes: Float[Tensor, "b nodes states"]) -> Float[Tensor, "b nodes states"]:
        """One graph convolution: messages between nodes, then a new state for each."""
        states = (nodes + self.relate(nodes)).relu()
        return F.linear(states, self.update.weight.squeeze(2))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return narrowed(self.carried(x, self.g(x)), x.dtype)

    @full_precision
    def carried(self, x: Float[Tensor, "b c h w"], g: Float[Tensor, "b nodes n"]) -> Float[Tensor, "b c h w"]:
        sums = matched(g @ x.flatten(2).transpose(1, 2), self.state)
        bias = matched(g.sum(2, keepdim=True), self.state) * self.state.bias  # type: ignore[operator]
        nodes = F.linear(sums, self.state.weight.flatten(1)) + bias
        nodes = self.reasoned(nodes / g.shape[2] if self.normalize else nodes)
        words = F.linear(nodes, self.extend.weight.flatten(1)).transpose(1, 2)
        return x + self.norm(matched(words.to(g.dtype) @ g, self.norm).view(x.shape))
