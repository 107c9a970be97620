"""Backbones: networks for small images of our own, one file a family, and timm's for all others."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from attnbench.backbones._sizes import Size
from attnbench.config.schema import Backbone, Site
from attnbench.errors import UserError, unknown
from attnbench.grafting.graft import graft

HERE = Path(__file__).parent
TIMM = "timm"  # the source of all networks that are not ours


def build(backbone: Backbone, classes: int, image: tuple[int, int, int]) -> nn.Module:
    """The network for images (channels, height, width), its weights drawn from torch's global random state.

    `classes` = 0: without classifier. `feature_info` and `forward_intermediates` of a network, as timm has
    them, are the channels (num_chs) and strides (reduction) of its stages' maps, and these maps.

    Raises `UserError` for what is unknown or cannot be had, `Impossible` for image sizes without meaning.
    """
    network = _bare(backbone, classes, image)
    if backbone.contains_at != Site():
        seed = int(torch.randint(2**31, (), device="cpu"))
        graft(network, str(backbone.contains), {}, backbone.contains_at, image, seed)
    return network


def _bare(backbone: Backbone, classes: int, image: tuple[int, int, int]) -> nn.Module:
    """The network without what `contains_at` puts into it."""
    if backbone.source == TIMM:
        from attnbench.backbones import _timm

        return _timm.build(backbone, classes, image)
    module = _module(backbone)
    stems = list(getattr(module, "STEMS", ["cifar"]))
    if backbone.stem not in stems or backbone.pretrained:
        asked = "pretrained=true" if backbone.pretrained else f"stem={backbone.stem}"
        has = f"stem={' or '.join(stems)}"
        raise UserError(f"backbone {backbone.name}: {asked} does not exist; it has {has} and no weights")
    stem = {"stem": backbone.stem} if len(stems) > 1 else {}
    try:
        size = image if getattr(module, "WHOLE", False) else image[0]
        return module.build(classes, size, **stem, **backbone.args)
    except TypeError as error:
        raise UserError(f"backbone {backbone.name}: backbone.args={backbone.args}: {error}") from error


def size(backbone: Backbone, network: nn.Module) -> Size:
    """What makes a backbone, of which `network` is one, wider and deeper."""
    if backbone.source == TIMM:
        from attnbench.backbones import _timm

        return _timm.size(backbone, network)
    module = _module(backbone)
    return module.size(**backbone.args) if hasattr(module, "size") else Size()


def names_labels(backbone: Backbone) -> bool:
    """Whether the network names all labels of a sequence itself, without a decoder."""
    return backbone.source != TIMM and getattr(_module(backbone), "WHOLE", False)


def _module(backbone: Backbone) -> ModuleType:
    """The file that builds it."""
    own = [path.stem for path in HERE.glob("[!_]*.py")]
    if backbone.source not in own:
        raise unknown(f"source of backbone {backbone.name}", backbone.source, [*own, TIMM])
    return import_module(f"{__name__}.{backbone.source}")


def stage_info(channels: Sequence[int], strides: Sequence[int]) -> list[dict[str, Any]]:
    """What timm's networks tell of their stages' maps, for a network of ours."""
    names = (f"layer{i + 1}" for i in range(len(channels)))
    return [
        {"num_chs": c, "reduction": stride, "module": name}
        for c, stride, name in zip(channels, strides, names)
    ]
