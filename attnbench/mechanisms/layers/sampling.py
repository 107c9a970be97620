"""Reading maps between their positions, by bilinear interpolation with zeros outside."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def read(
    x: Float[Tensor, "b c h w"],
    rows: Float[Tensor, "b *s g"],
    columns: Float[Tensor, "b *s g"],
    weight: Float[Tensor, "b *s g"] | None = None,
) -> Float[Tensor, "b *s c"]:
    """What x is at points between its positions, for each of g groups of channels, times a weight.

    Points are given in positions, (0, 0) being the first. The four neighbours are summed as the embeddings
    of a bag, which makes no copy of them. Sums are as wide as the points are.
    """
    b, c, h, w = x.shape
    groups = rows.shape[-1]
    index, share = neighbours(rows, columns, (h, w))
    if weight is not None:
        share = share * weight[..., None]
    table = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 2, 1, 2)).reshape(-1, c // groups).to(share.dtype)
    first = torch.arange(b, device=x.device, dtype=index.dtype) * ((h + 3) * (w + 3))
    of_group = torch.arange(groups, device=x.device, dtype=index.dtype)
    index = (index + first.view(b, *(1 for _ in rows.shape[1:]))) * groups + of_group
    steps = torch.tensor([0, 1, w + 3, w + 4], device=x.device, dtype=index.dtype) * groups
    bags = (index[..., None] + steps).reshape(-1, 4)
    shares = share.reshape(-1, 4)
    if torch.compiler.is_exporting():  # ONNX has no bags
        sums = (F.embedding(bags.long(), table) * shares[..., None]).sum(1)
    else:
        sums = F.embedding_bag(bags, table, mode="sum", per_sample_weights=shares)
    return sums.view(*rows.shape[:-1], c).to(x.dtype)


def neighbours(
    rows: Float[Tensor, "*p"], columns: Float[Tensor, "*p"], size: tuple[int, int]
) -> tuple[Int[Tensor, "*p"], Float[Tensor, "*p 4"]]:
    """The upper left of each point's four neighbours, numbered in a map with a border, and all their shares.

    The border is of zeros, one position wide at the top and left, two at the bottom and right; points
    further out are moved there.
    """
    h, w = size
    rows, columns = rows.clamp(-1, h) + 1, columns.clamp(-1, w) + 1
    top, left = rows.detach().floor(), columns.detach().floor()
    down, right = rows - top, columns - left
    lower_right = down * right
    shares = 1 - down - right + lower_right, right - lower_right, down - lower_right, lower_right
    return top.int() * (w + 3) + left.int(), torch.stack(shares, -1)
