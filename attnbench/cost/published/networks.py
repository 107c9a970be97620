"""Builds the networks that published figures are about, and counts them as their sources did."""

import copy
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any, cast

import torch
from torch import nn

from attnbench import mechanisms, tasks
from attnbench.config import load
from attnbench.config.schema import Data
from attnbench.cost.counting.count import watched
from attnbench.cost.counting.operator import Call
from attnbench.cost.parameters import parameters
from attnbench.cost.published.conventions import Convention
from attnbench.grafting.graft import graft


def our_params(network: Mapping[str, Any], convention: Convention) -> float:
    """Parameters of a network, in the source's millions.

    `network`: task, backbone, stem, variant (words of VARIANTS or, of segmentation networks, of SETTINGS),
    attn, options, site, classes, image (channels, height, width), and part, the name of a part that the
    figure is of, or "". Raises `Impossible` where it cannot be built.
    """
    return convention.params(_params(**_hashable(network)))


def our_macs(network: Mapping[str, Any], convention: Convention) -> float:
    """Multiply-adds of a network for one image, as the convention counts them, in billions."""
    return convention.macs(_calls(**_hashable(network)))


def _hashable(network: Mapping[str, Any]) -> dict[str, Any]:
    return {**network, "options": tuple(network["options"].items())}


@cache
def _params(part: str, **network: Any) -> int:
    return parameters(_built(**network))[f"params_{part}" if part else "params"]


@cache
def _calls(part: str, **network: Any) -> list[Call]:
    watch = watched(_built(**network), network["image"])
    return [call for call, name in zip(watch.calls, watch.places) if f"{name}.".startswith(part)]


@lru_cache(maxsize=1)
def _built(
    task: str,
    backbone: str,
    stem: str,
    variant: str,
    attn: str,
    options: tuple,
    site: str,
    classes: int,
    image: tuple[int, int, int],
) -> nn.Module:
    """The network, on the meta device."""
    channels, height, width = image
    config = copy.deepcopy(load.unchecked(f"task={task}", f"backbone={backbone}"))
    config.data = Data(channels=channels, size=height, width=width, classes=classes)
    config.backbone.stem = stem
    words = variant.split()
    for word in words:
        config.backbone.args |= SETTINGS.get(word, ({}, {}))[0]
        config.task.options |= SETTINGS.get(word, ({}, {}))[1]
    with torch.device("meta"):
        model = tasks.load(config).network()
        for word in words:
            VARIANTS.get(word, _unchanged)(model)
        if attn != "none":
            where = site or next(name for name in mechanisms.entry(attn).sites if name in config.sites)
            graft(model, attn, dict(options), config.sites[where], image)
        for word in words:
            AFTERWARDS.get(word, _unchanged)(model)
    return model


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


def bare_head(model: nn.Module) -> None:
    """Leave out what follows the attention in a head."""
    head = cast(Any, model).head
    head.leave = head.classify = nn.Identity()


def _unchanged(model: nn.Module) -> None:
    pass


VARIANTS: dict[str, Callable[[nn.Module], None]] = {"v1": stride_first, "B": project_shortcuts}
"""Published forms of a network that differ from ours."""

AFTERWARDS: dict[str, Callable[[nn.Module], None]] = {"bare": bare_head}
"""What such a form changes once the attention is there."""

SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "d8": ({}, {"output_stride": 8}),
    "d16": ({}, {"output_stride": 16}),
    "deep": ({"stem_type": "deep", "stem_width": 64}, {}),  # three 3x3 convolutions of 64, 64, 128 channels
    "v1c": ({"stem_type": "deep", "stem_width": 32}, {}),  # of 32, 32, 64: mmsegmentation's
    "single": ({}, {"auxiliary": 0}),  # no auxiliary head
    "w256": ({}, {"width": 256}),
    "aspp": ({}, {"decoder": "aspp"}),
}
"""Forms of a segmentation network: the backbone's arguments and the task's options."""
