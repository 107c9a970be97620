"""What a network costs: counted, and timed beside another one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from torch import nn

from attnbench import cost
from attnbench.config.schema import Precision
from attnbench.errors import Impossible, UserError, unknown
from attnbench.grafting.dry_run import dry_run
from attnbench.grafting.tokens import own_image

T = TypeVar("T")


@dataclass(frozen=True)
class Count:
    """Parameters of a network, and its work on one input in evaluation mode."""

    params: int
    params_attention: int  # of the mechanisms in it
    macs: int  # multiply-adds of convolutions and matrix products
    elementwise: int  # all other arithmetic operations
    activations: int  # elements of the results of convolutions and matrix products
    uncounted: tuple[str, ...] = ()  # operators without a rule, which the figures leave out


@dataclass(frozen=True)
class Latency:
    """Time of a network beside its control, both timed in turn: the ratio with its 95 % interval."""

    ratio: float
    low: float
    high: float
    noise: float  # how far from 1 the control's ratio to itself may lie: ratios nearer to 1 say nothing
    steady: bool  # whether the ratio varies by 2 % or less
    ms: float  # median of the network
    control_ms: float  # and of the control
    details: dict[str, Any] = field(default_factory=dict, repr=False)  # everything that was measured


def count(model: nn.Module, image: tuple[int, ...] | None = None) -> Count:
    """Parameters, multiply-adds, element-wise operations and activations; the network is left as it was.

    `image` is one input's shape, (channels, height, width); networks of timm name their own. Raises
    `UserError` where the network does not run on it.
    """
    shape = tuple(image or own_image(model))
    found = _running(model, shape, lambda: cost.count(model, shape))
    params = cost.parameters(model)
    return Count(
        params["params"],
        params["params_attention"],
        found["macs"],
        found["elementwise"],
        found["activations"],
        tuple(found["uncounted"]),
    )


def latency(
    model: nn.Module,
    control: nn.Module,
    image: tuple[int, ...] | None = None,
    *,
    batch: int = 1,
    rounds: int = 20,
    training: bool = False,
    device: str | None = None,
    mode: Literal["eager", "compile", "cuda_graph"] = "eager",
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    channels_last: bool = False,
    threads: int = 1,
) -> Latency:
    """Time `model` against `control`, in turn, on inputs of one shape; neither is changed.

    `image` is one input's shape, `rounds` how often both are timed at least, `training` times a training step
    instead of inference, `device` is the network's own by default, `threads` are torch's on the CPU. Raises
    `UserError` where a network does not run on the input or the device does not have the mode.
    """
    shape = tuple(image or own_image(model))
    if precision not in list(Precision):
        raise unknown("precision", precision, list(Precision))
    for network in (model, control):
        dry_run(network, [], shape)
    where = device or str(next((p.device for p in model.parameters()), "cpu"))
    on = {"batch": batch, "rounds": rounds, "training": training, "device": where, "mode": mode}
    on |= {"precision": Precision(precision), "channels_last": channels_last, "threads": threads}
    found = _running(model, shape, lambda: cost.latency(model, control, shape, **on))  # type: ignore[arg-type]
    return Latency(
        found["ratio"],
        found["ratio_low"],
        found["ratio_high"],
        found["noise"],
        found["steady"],
        found["median_ms"],
        found["control_ms"],
        found,
    )


def _running(model: nn.Module, shape: tuple[int, ...], work: Callable[[], T]) -> T:
    """What `work` returns; raises `UserError` where it fails because the network does not run."""
    try:
        return work()
    except Impossible as error:
        raise UserError(str(error)) from error
    except Exception:
        dry_run(model, [], shape)
        raise
