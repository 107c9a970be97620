"""Everything a record says of a network's cost."""

from typing import Any

import torch
from torch import nn

from attnbench.config.schema import Cost, Hardware
from attnbench.cost.counting.count import count
from attnbench.cost.measuring.latency import latency
from attnbench.cost.measuring.memory import peak_memory
from attnbench.cost.measuring.throughput import throughput
from attnbench.cost.parameters import parameters
from attnbench.cost.store import Figures, Store

TRAINABLE = 2  # the smallest batch that batch normalisation of single numbers can train on


def profile(
    model: nn.Module,
    control: nn.Module,
    image: tuple[int, ...],
    settings: Cost,
    hardware: Hardware,
    store: Store | None = None,
) -> Figures:
    """The cost part of a record, measured on the device that `model` is on; None for what was not asked for.

    `control` is the same network without attention, `model` itself in the control's own record. Counts come
    from the store where it has them, times never. A training step's batch is `settings.batch`, at least 2.
    Raises `Impossible` for a mode that the device has not.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    store = store or Store()
    figures: Figures = {**parameters(model), **dict.fromkeys(("macs", "elementwise", "activations"))}
    figures |= {"uncounted": [], "input": list(image), "peak_memory_bytes": None}
    if settings.counters:
        figures |= store.get(lambda: count(model, image), input=image)
    if settings.memory:
        kept = store if device.type == "cpu" else Store()
        batch = settings.batch
        figures |= kept.get(lambda: _memory(model, image, batch, device), input=image, batch=batch)
    return figures | _times(model, control, image, settings, _conditions(settings, hardware, device))


def _memory(model: nn.Module, image: tuple[int, ...], batch: int, device: torch.device) -> Figures:
    training = max(batch, TRAINABLE)
    return {
        "peak_memory_bytes": peak_memory(model, image, batch, False, device),
        "peak_memory_training_bytes": peak_memory(model, image, training, True, device),
        "peak_memory_training_batch": training,
    }


def _conditions(settings: Cost, hardware: Hardware, device: torch.device) -> dict[str, Any]:
    return {
        "device": device,
        "mode": settings.mode,
        "precision": settings.precision,
        "channels_last": hardware.channels_last,
        "threads": hardware.threads or 1,
    }


def _times(
    model: nn.Module, control: nn.Module, image: tuple[int, ...], settings: Cost, on: dict[str, Any]
) -> Figures:
    """Latency of inference and, where asked for, of training, and at the batch of best throughput."""
    found: Figures = {"latency": None}
    pair = (model, control, image)
    if settings.latency:
        found["latency"] = latency(*pair, batch=settings.batch, rounds=settings.rounds, **on)
    if settings.latency and settings.training:
        batch = max(settings.batch, TRAINABLE)
        found["latency_training"] = latency(*pair, batch=batch, rounds=settings.rounds, training=True, **on)
    if settings.throughput:
        found["throughput"] = throughput(model, image, **on)
        best = (
            throughput(control, image, **on)["batch"]
            if control is not model
            else found["throughput"]["batch"]
        )
        found["latency_best_batch"] = latency(*pair, batch=best, rounds=settings.rounds, **on)
    return found
