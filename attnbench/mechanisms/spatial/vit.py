"""Vision transformer's encoder block: every position attends to every other, in several heads."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attnbench.errors import Impossible
from attnbench.mechanisms.base import Card, Mechanism
from attnbench.mechanisms.layers.precision import full_precision


class ViT(Mechanism):
    """y = x + W_o concat_heads(softmax(q · k / sqrt(d)) v), with q, k, v = W LN(x) at each position.

    A position of a network's map stands for a patch, as in the paper's hybrid of ResNet and transformer;
    class token and position embedding belong to the whole network, which is a backbone, not this block.
    c // `width` heads, at least one, share the channels evenly. `mlp` > 0 adds
    the block's second half, y + MLP(LN(y)) with mlp c hidden units and GELU in its tanh form, as the
    authors' flax has it (`tanh=False` for the exact one of PyTorch ports). g is the maps of all heads.
    Source: google-research/vision_transformer.
    """

    card = Card(
        title="An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
        venue="ICLR 2021",
        url="https://arxiv.org/abs/2010.11929",
        tasks=("Cls",),
        g="dot product between queries and keys of several heads -> softmax",
        range=(0.0, 1.0),
        soft=True,
        goals=("capture long-range dependencies",),
        params=lambda c: 4 * c * c + 6 * c,
        site="late",
    )

    def __init__(self, channels: int, width: int = 64, mlp: int = 0, tanh: bool = True) -> None:
        super().__init__()
        self.heads = max(channels // width, 1)
        if channels % self.heads:
            raise Impossible(
                f"vit: {channels} channels do not divide into {self.heads} heads of about {width}"
            )
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.mlp = feed_forward(channels, mlp * channels, tanh) if mlp else None
        for matrix in (*self.qkv.weight.chunk(3), self.project.weight):
            nn.init.xavier_uniform_(matrix)
        for layer in (self.qkv, self.project):
            nn.init.zeros_(layer.bias)

    def parts(self, x: Float[Tensor, "b c h w"]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (b heads n d)."""
        qkv = self.qkv(self.norm(x.flatten(2).transpose(1, 2)))
        q, k, v = qkv.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return q, k, v

    def g(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b heads n n"]:
        q, k, _ = self.parts(x)
        return likeness(q, k)

    def f(self, g: Float[Tensor, "b heads n n"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        v = self.parts(x)[2]
        return self.joined(g.to(v.dtype) @ v, x)

    def joined(self, heads: Float[Tensor, "b heads n d"], x: Float[Tensor, "b c h w"]) -> Tensor:
        """The heads' outcome, projected and added; then the MLP's, if there is one."""
        y = x.flatten(2).transpose(1, 2) + self.project(heads.transpose(1, 2).flatten(2))
        y = y if self.mlp is None else y + self.mlp(y)
        return y.transpose(1, 2).reshape(x.shape).to(x.dtype)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return self.joined(F.scaled_dot_product_attention(*self.parts(x)), x)


@full_precision
def likeness(q: Float[Tensor, "b heads n d"], k: Float[Tensor, "b heads n d"]) -> Tensor:
    """softmax(q · k / sqrt(d)) over the keys."""
    return (q @ (k * q.shape[3] ** -0.5).transpose(2, 3)).softmax(3)


def feed_forward(channels: int, hidden: int, tanh: bool) -> nn.Sequential:
    """LN, linear layer, GELU, linear layer."""
    gelu = nn.GELU("tanh" if tanh else "none")
    first, second = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
    for layer in (first, second):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.normal_(layer.bias, std=1e-6)
    return nn.Sequential(nn.LayerNorm(channels, eps=1e-6), first, gelu, second)
