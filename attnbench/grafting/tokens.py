"""Places in networks that are named by patterns alone: their layout, and the image that the network takes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from attnbench.config.schema import Layout, Site
from attnbench.errors import UserError
from attnbench.grafting.call import grid
from attnbench.grafting.dry_run import Shape, dry_run
from attnbench.grafting.sites import match

MOST_PREFIX = 33  # leading tokens that are tried


def site_of(
    model: nn.Module, patterns: Sequence[str], how: str, image: Shape, example: tuple[Any, ...] | None = None
) -> Site:
    """The site that patterns make, in layout BNC with its leading tokens where tokens pass there.

    Other layouts are recognized when the site is used. Raises `UserError` where a pattern fits nothing.
    """
    named: dict[str, Any] = {how: list(patterns)}
    site = Site(**named)
    names = [name for pattern in patterns for name in match(model, pattern)]
    if how == "instead" or len(image) != 3:
        return site
    seen = dry_run(model, [(how, name) for name in names], image, example).shapes.values()
    tokens = next((shape[1] for shape, _ in seen if len(shape) == 3 and shape[0] == 1), None)
    if tokens is None:
        return site
    prefix = leading(model, tokens, image)
    return site if prefix is None else replace(site, layout=Layout.BNC, prefix=prefix)


def leading(model: nn.Module, tokens: int, image: Shape) -> int | None:
    """How many of the tokens lead a grid over the image; None where no number of them leaves one."""
    own = getattr(model, "num_prefix_tokens", None)
    tried = ([own] if isinstance(own, int) else []) + list(range(min(tokens, MOST_PREFIX)))
    return next((n for n in tried if grid(tokens - n, (image[-2], image[-1]))), None)


def own_image(model: nn.Module) -> Shape:
    """Channels, height and width of the images that a network says it takes, as timm's do.

    Raises `UserError` where it does not say.
    """
    known = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None) or {}
    size = getattr(getattr(model, "patch_embed", None), "img_size", None)
    shape = known.get("input_size") if isinstance(known, dict) else None
    if shape is None:
        raise UserError("give the shape of one input: image=(channels, height, width)")
    first = next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)), shape[0])
    return (first, *(size or shape[1:]))
