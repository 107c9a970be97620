"""Backbones: networks for small images of our own, one file a family, and timm's for all others."""

from importlib import import_module
from pathlib import Path

from torch import nn

from attnbench.config import Backbone
from attnbench.errors import UserError, unknown

HERE = Path(__file__).parent


def build(backbone: Backbone, classes: int, image: tuple[int, int, int]) -> nn.Module:
    """The network for images (channels, height, width), its weights drawn from torch's global random state.

    Raises `UserError` for what is unknown or cannot be had, `Impossible` for image sizes without meaning.
    """
    if backbone.source == "timm":
        from attnbench.backbones import _timm

        return _timm.build(backbone, classes, image)
    own = [path.stem for path in HERE.glob("[!_]*.py")]
    if backbone.source not in own:
        raise unknown(f"source of backbone {backbone.name}", backbone.source, [*own, "timm"])
    module = import_module(f"{__name__}.{backbone.source}")
    stems = list(getattr(module, "STEMS", ["cifar"]))
    if backbone.stem not in stems or backbone.pretrained:
        asked = "pretrained=true" if backbone.pretrained else f"stem={backbone.stem}"
        has = f"stem={' or '.join(stems)}"
        raise UserError(f"backbone {backbone.name}: {asked} does not exist; it has {has} and no weights")
    stem = {"stem": backbone.stem} if len(stems) > 1 else {}
    try:
        return module.build(classes, image[0], **stem, **backbone.args)
    except TypeError as error:
        raise UserError(f"backbone {backbone.name}: backbone.args={backbone.args}: {error}") from error
