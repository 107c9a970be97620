"""Builds the networks that published figures are about, and counts them as their sources did."""

from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from attnbench import backbones, mechanisms
from attnbench.config import Backbone, folder
from attnbench.cost.conventions import Convention
from attnbench.cost.counting import watched
from attnbench.cost.parameters import parameters
from attnbench.cost.work import Call
from attnbench.graft import graft


def our_params(network: Mapping[str, Any], convention: Convention) -> float:
    """Parameters of a network, in the source's millions.

    `network`: backbone, stem, variant (see VARIANTS), attn, options, site, classes, size (px). Raises
    `Impossible` where it cannot be built.
    """
    return convention.params(_params(**_hashable(network)))


def our_macs(network: Mapping[str, Any], convention: Convention) -> float:
    """Multiply-adds of a network for one image, as the convention counts them, in billions."""
    return convention.macs(_calls(**_hashable(network)))


def _hashable(network: Mapping[str, Any]) -> dict[str, Any]:
    return {**network, "options": tuple(network["options"].items())}


@cache
def _params(**network: Any) -> int:
    return parameters(_built(**network))["params"]


@cache
def _calls(**network: Any) -> list[Call]:
    size = network["size"]
    return watched(_built(**network), (3, size, size)).calls


@lru_cache(maxsize=1)
def _built(
    backbone: str, stem: str, variant: str, attn: str, options: tuple, site: str, classes: int, size: int
) -> nn.Module:
    """The network, on the meta device."""
    settings = read_backbone(backbone)
    settings.stem = stem
    image = (3, size, size)
    with torch.device("meta"):
        model = backbones.build(settings, classes, image)
        VARIANTS[variant](model)
    if attn != "none":
        where = site or next(name for name in mechanisms.entry(attn).sites if name in settings.sites)
        graft(model, attn, dict(options), settings.sites[where], image)
    return model


def read_backbone(name: str) -> Backbone:
    """A backbone as `conf/` describes it."""
    merged = OmegaConf.merge(OmegaConf.structured(Backbone), *_parts(name))
    return cast(Backbone, OmegaConf.to_object(merged))


def _parts(name: str) -> list[DictConfig]:
    """Its file and those that it builds on, the most general first."""
    content = cast(DictConfig, OmegaConf.load(folder("conf") / "backbone" / f"{name}.yaml"))
    below = [part for part in content.pop("defaults", []) if part != "_self_"]
    return [part for parent in below for part in _parts(parent)] + [content]


def stride_first(model: nn.Module) -> None:
    """Move each stage's stride from the 3x3 to the first 1x1 convolution: ResNet v1.5 becomes v1."""
    for block in model.modules():
        if hasattr(block, "conv3") and hasattr(block, "conv2"):
            first, second = cast(nn.Conv2d, block.conv1), cast(nn.Conv2d, block.conv2)
            first.stride, second.stride = second.stride, (1, 1)


def project_shortcuts(model: nn.Module) -> None:
    """Give the CIFAR ResNets' shortcuts of option A (padding) the 1x1 convolutions and norms of option B."""
    for block in list(model.modules()):
        if getattr(block, "added", 0):
            first = cast(nn.Conv2d, block.conv1)
            conv = nn.Conv2d(first.in_channels, first.out_channels, 1, first.stride, bias=False)  # type: ignore[arg-type]
            block.projection = nn.Sequential(conv, nn.BatchNorm2d(first.out_channels))
            block.__dict__["shortcut"] = block.projection


VARIANTS: dict[str, Callable[[nn.Module], None]] = {
    "": lambda model: None,
    "v1": stride_first,
    "B": project_shortcuts,
}
"""Published forms of a network that differ from ours."""
