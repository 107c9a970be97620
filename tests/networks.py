"""Networks for the tests of backbones and grafting: configurations, test mechanisms, their liveliness."""

import copy
from collections.abc import Hashable
from dataclasses import replace
from typing import Any, ClassVar, Self, cast

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, nn

from attnbench import backbones
from attnbench.config.files import folder
from attnbench.config.schema import Backbone, Site
from attnbench.errors import Impossible
from attnbench.mechanisms.base import Mechanism, Place
from attnbench.mechanisms.channel.se import SE

IMAGE = (3, 32, 32)
AFTER = Site(after=["layer*.*.bn2"])


def backbone(name: str, **changes: Any) -> Backbone:
    """The backbone as `conf/` has it, but for the changes."""
    with initialize_config_dir(str(folder("conf").resolve()), version_base="1.3"):
        chosen = compose(f"backbone/{name}").backbone
    read = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Backbone), chosen))
    return replace(cast(Backbone, read), **changes)


def network(name: str = "resnet8", seed: int = 0) -> nn.Module:
    """The backbone for small images in evaluation mode, every branch of it open."""
    torch.manual_seed(seed)
    return liven(backbones.build(backbone(name), 10, IMAGE)).eval()


def images(count: int = 2) -> Tensor:
    """Small images, the same at each call."""
    return torch.randn(count, *IMAGE, generator=torch.Generator().manual_seed(1))


class Scale(Mechanism):
    """A learnable factor a channel, 1 at first: the identity, until it is changed."""

    card = SE.card

    def __init__(self, channels: int, start: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, 1, 1), start))

    def g(self, x: Tensor) -> Tensor:
        return self.weight

    def no_weight_decay(self) -> set[str]:
        return {"weight"}


class Counted(Scale):
    """Notes each call, and each start of a pass, of any of its instances."""

    calls: ClassVar[list[str]] = []

    def start_pass(self) -> None:
        self.calls.append("start")

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append("call")
        return super().forward(x)


class Shared(Counted):
    """One module for each width."""

    @classmethod
    def share(cls, place: Place, **options: Any) -> Hashable:
        return place.channels


class GatedConv(Mechanism):
    """Stands instead of a convolution: one of the same kind, times a gate of its own input."""

    card = replace(SE.card, site="conv")

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        kept = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "groups")
        self.conv = nn.Conv2d(**{name: getattr(conv, name) for name in kept}, bias=conv.bias is not None)
        self.gate = nn.Linear(conv.in_channels, conv.out_channels)

    @classmethod
    def at(cls, place: Place, **options: Any) -> Self:
        if not isinstance(place.replaces, nn.Conv2d):
            raise Impossible("no convolution to stand for")
        return cls(place.replaces)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * self.gate(x.mean((2, 3))).sigmoid()[:, :, None, None]


def twin(model: nn.Module) -> nn.Module:
    """A copy to graft on that has its parameters and buffers in common with the model."""
    return copy.deepcopy(model, {id(t): t for t in (*model.parameters(), *model.buffers())})


def liven(model: nn.Module) -> nn.Module:
    """Set to one what starts at zero or near and so closes a branch: weights of norms, scales of layers."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1 and 0 <= parameter.min() == parameter.max() <= 1e-4:
                parameter.fill_(1.0)
    return model


def hooks(model: nn.Module) -> int:
    """How many hooks there are in it."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
