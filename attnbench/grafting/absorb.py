"""Norms and activations that go with the convolution before them, where what replaces it has its own."""

from torch import nn

from attnbench.config.schema import Site
from attnbench.grafting.attached import put
from attnbench.grafting.sites import match


def absorbed(model: nn.Module, site: Site) -> list[str]:
    """Dotted names of the modules that the site absorbs; raises `UserError` where a pattern fits none."""
    return list(dict.fromkeys(name for pattern in site.absorbs for name in match(model, pattern)))


def absorb(model: nn.Module, names: list[str]) -> None:
    """Put an identity in the place of each."""
    for name in names:
        put(model, name, nn.Identity())
