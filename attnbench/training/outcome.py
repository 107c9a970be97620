"""What is measured of a cell, and where it comes from, on its way into the record."""

import math
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import torch
from torch import nn

from attnbench import provenance
from attnbench.grafting import graft
from attnbench.training.distributed import Group


@dataclass
class Measured:
    """What is known of a cell so far, also when it ends early."""

    tell: Callable[[dict[str, float]], object]  # called with each epoch's row
    metrics: dict[str, dict[str, float]] | None = None
    curve: list[dict[str, float]] = field(default_factory=list)
    cost: dict[str, Any] | None = None
    checksum: str | None = None
    images: dict[str, int] | None = None  # of each split
    network: dict[str, Any] = field(default_factory=dict)  # what a table states of it: see `facts`
    traceback: str | None = None
    micro_batch: int | None = None
    dead_parameters: list[str] = field(default_factory=list)  # whose gradient has always been zero
    keep: bool = False  # whether the checkpoint may serve once more
    seconds: dict[str, float] = field(default_factory=dict)  # of each part of the work
    clock: float = field(default_factory=time.perf_counter)

    def took(self, part: str) -> None:
        """Count the time since the last such word, or the start, to a part of the work."""
        before, self.clock = self.clock, time.perf_counter()
        self.seconds[part] = round(self.seconds.get(part, 0.0) + self.clock - before, 3)


def origin(
    started: datetime, seconds: float, device: torch.device, group: Group, measured: Measured
) -> dict[str, Any]:
    """The record's part that says where its numbers come from."""
    rates = sorted(r["images_per_s"] for r in measured.curve if r.get("images_per_s"))
    return {
        **provenance.code(),
        "versions": provenance.versions(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else provenance.processor(),
        "threads": torch.get_num_threads(),
        "processes": group.world,
        "flush_denormal": True,
        "started": started.isoformat(timespec="seconds"),
        "wall_s": round(seconds, 2),
        "seconds": measured.seconds,
        **({"micro_batch": measured.micro_batch} if measured.micro_batch else {}),
        **({"dead_parameters": measured.dead_parameters} if measured.dead_parameters else {}),
        "images_per_s": rates[len(rates) // 2] if rates else None,
        "data_checksum": measured.checksum,
        "images": measured.images,
        **measured.network,
    }


def facts(network: nn.Module) -> dict[str, Any]:
    """What a table states of a network: whether batch norm is at work, what its mechanism's paper states."""
    norms = torch.nn.modules.batchnorm._BatchNorm
    rates = {f"{_own(name)}: learning rate x {by:g}" for name, by in graft.lr_scale(network).items()}
    spared = {f"{_own(name)}: no weight decay" for name in graft.no_weight_decay(network)}
    return {
        "batch_norm": any(isinstance(module, norms) for module in network.modules()),
        "stated": sorted(rates | spared),
    }


def _own(name: str) -> str:
    """A parameter's name within its mechanism's part."""
    return ".".join(name.split(".")[-2:])


def finite(value: Any) -> Any:
    """The value with null for each number that is none: JSON knows neither NaN nor infinity."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def current_traceback() -> str:
    """The exception that is being handled, without the paths of this machine."""
    text = traceback.format_exc()
    for path in (*sys.path, sys.prefix):
        if len(path) > 1:
            text = text.replace(f"{path.rstrip('/')}/", "")
    return text
