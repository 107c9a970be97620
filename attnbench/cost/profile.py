"""Everything a record says of a network's cost."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from attnbench.config.launch import Hardware
from attnbench.config.schema import Cost
from attnbench.cost.counting.count import count
from attnbench.cost.measuring.latency import latency
from attnbench.cost.measuring.memory import peak_memory
from attnbench.cost.measuring.step import Conditions
from attnbench.cost.measuring.throughput import throughput
from attnbench.cost.parameters import parameters
from attnbench.cost.store import Figures, Store

Pair = tuple[nn.Module, nn.Module, tuple[int, ...]]  # candidate, control, one input's shape
COUNTS = ("macs", "elementwise", "activations")
FIGURES = (*COUNTS, *(f"{name}_fvcore" for name in COUNTS), "peak_memory_bytes", "latency")  # in every record
LONGEST = 200  # characters of a reason
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
    A measurement that fails leaves its figures None and its reason in `unmeasured`. Raises `UserError` for an
    unknown mode and `Impossible` for one that the device does not have.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    on = _conditions(settings, hardware, device)
    if settings.latency or settings.throughput:
        _check_modes(image, settings, on)
    attempts = _Attempts({**dict.fromkeys(FIGURES), **parameters(model), "input": list(image)})
    store = store or Store()
    if settings.counters:
        attempts.add("counts", lambda: store.get(lambda: count(model, image), input=image))
        attempts.add(
            "counts by fvcore", lambda: store.get(lambda: _second(model, image), input=image, by="fvcore")
        )
    if settings.memory:
        kept = store if device.type == "cpu" else Store()
        batch = settings.batch
        attempts.add(
            "memory", lambda: kept.get(lambda: _memory(model, image, batch, device), input=image, batch=batch)
        )
    _time(attempts, (model, control, image), settings, on)
    return attempts.figures


def check(figures: Figures) -> None:
    """Raise `RuntimeError` with the reasons where measurements were asked for and none succeeded."""
    if figures.get("unmeasured") and not any(figures.get(name) is not None for name in FIGURES):
        reasons = "; ".join(f"{name}: {why}" for name, why in figures["unmeasured"].items())
        raise RuntimeError(f"nothing could be measured: {reasons}")


class _Attempts:
    """Figures that were measured, and why others could not be."""

    def __init__(self, figures: Figures) -> None:
        self.figures = {"uncounted": [], "uncounted_fvcore": [], **figures, "unmeasured": {}}

    def add(self, name: str, measure: Callable[[], Figures]) -> None:
        """Measure; an error is noted under that name, and costs nothing but these figures."""
        try:
            self.figures |= measure()
        except Exception as error:  # whatever a network, a library or the memory's end raises
            line = f"{type(error).__name__}: {error}".splitlines()[0]
            self.figures["unmeasured"][name] = line[:LONGEST]


def _second(model: nn.Module, image: tuple[int, ...]) -> Figures:
    """The second counter's figures under names of their own."""
    return {f"{name}_fvcore": value for name, value in count(model, image, "fvcore").items()}


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


def _check_modes(image: tuple[int, ...], settings: Cost, on: dict[str, Any]) -> None:
    """Raise where the device cannot time in this way, whatever the network."""
    for training in (False, True) if settings.training else (False,):
        Conditions(image, device=on["device"], training=training, mode=on["mode"]).check()


def _time(attempts: _Attempts, pair: Pair, settings: Cost, on: dict[str, Any]) -> None:
    """Latency of inference and, where asked for, of training, and at the batch of best throughput."""

    def timed(name: str, batch: int, training: bool = False) -> None:
        rounds = settings.rounds
        attempts.add(
            name, lambda: {name: latency(*pair, batch=batch, rounds=rounds, training=training, **on)}
        )

    if settings.latency:
        timed("latency", settings.batch)
    if settings.latency and settings.training:
        timed("latency_training", max(settings.batch, TRAINABLE), training=True)
    if settings.throughput:
        attempts.add("throughput", lambda: _throughput(pair, on))
        if best := attempts.figures.get("throughput_of_control"):
            timed("latency_best_batch", best["batch"])


def _throughput(pair: Pair, on: dict[str, Any]) -> Figures:
    model, control, image = pair
    own = throughput(model, image, **on)
    return {
        "throughput": own,
        "throughput_of_control": own if control is model else throughput(control, image, **on),
    }
