"""Latency of a candidate beside its control.

Milliseconds on a shared machine do not come again; the ratio to a control that is timed in the same seconds
does. So a candidate and two copies of its control take turns, in every order, and the result is the median
over the rounds of the ratio to both copies' mean. The ratio of one copy to the other gives the noise floor: a
ratio nearer to 1 than that says nothing.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, cycle, islice, permutations
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from attnbench.config.recipe import Precision
from attnbench.cost.measuring.machine import foreign_share, gpu_state
from attnbench.cost.measuring.step import Conditions, Step, step

STEADY = 0.02  # the coefficient of variation to reach
BLOCKS = 5  # of consecutive rounds, whose medians must agree
EXTENSIONS = 3  # times that the rounds are repeated at most to reach it
SAMPLE_S = 0.005  # a sample repeats the step until it takes this long
AGREEMENT = 0.03  # largest difference of the ratios by clock and by CPU time


class Sample(NamedTuple):
    """One step's time in seconds, by the clock and of the process on the processors."""

    wall: float
    cpu: float


class Interval(NamedTuple):
    """A median with its interval of at least 95 % from order statistics, and its coefficient of variation."""

    median: float
    low: float
    high: float
    variation: float


def latency(
    candidate: nn.Module,
    control: nn.Module,
    image: tuple[int, ...],
    *,
    batch: int = 1,
    device: torch.device | str = "cpu",
    rounds: int = 20,
    training: bool = False,
    mode: str = "eager",
    precision: Precision = Precision.fp32,
    channels_last: bool = False,
    threads: int = 1,
) -> dict[str, Any]:
    """Time `candidate` against `control` on images of shape (c, h, w); neither is changed.

    Medians and quartiles in ms of one inference, or of one training step; `ratio` of candidate to control
    with an interval of 95 %; `noise`, how far from 1 the control's ratio to itself may lie; `cv` of the
    ratio and whether it is `steady` (2 % or less), for which up to three times more rounds than asked for
    are run. `cpu_ratio` is the ratio of CPU times, with an interval and a noise (`cpu_noise`) of its own;
    `disturbed` says that it differs from `ratio` by more than 3 %.
    `foreign` is the share of the processors that others used. `mode` is eager, compile or cuda_graph.
    Raises `UserError` for an unknown mode and `Impossible` for one that the device has not.
    """
    on = Conditions(image, batch, torch.device(device), training, mode, precision, channels_last)
    on.check()
    with torch_threads(threads), foreign_share() as foreign:
        before = gpu_state(on.device)
        steps = [step(model, on) for model in (candidate, control, control)]
        numbers = [warm_up(run, on.device) for run in steps]
        samples = _interleaved(steps, max(numbers), on.device, rounds)
    return {
        **_summary(samples, on.device),
        "batch": batch,
        "threads": threads,
        "device": "cpu" if on.device.type == "cpu" else torch.cuda.get_device_name(on.device),
        "mode": mode,
        "precision": str(precision),
        "channels_last": channels_last,
        "training": training,
        "foreign": foreign.share,
        "gpu_before": before,
        "gpu_after": gpu_state(on.device),
    }


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """So many threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def timed(run: Step, number: int, device: torch.device) -> Sample:
    """The mean of `number` steps in a row: CUDA events on a GPU, the clock elsewhere."""
    if device.type == "cuda":
        return _timed_on_gpu(run, number)
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(number):
        run()
    return Sample((time.perf_counter() - wall) / number, (time.process_time() - cpu) / number)


def _timed_on_gpu(run: Step, number: int) -> Sample:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    cpu = time.process_time()
    start.record()
    for _ in range(number):
        run()
    end.record()
    cpu = time.process_time() - cpu
    end.synchronize()
    return Sample(start.elapsed_time(end) / 1000 / number, cpu / number)


def warm_up(run: Step, device: torch.device, most: int = 30) -> int:
    """Run until three samples are not 5 % faster than the three before; how many steps make a sample."""
    run()
    number = max(1, round(SAMPLE_S / max(timed(run, 1, device).wall, 1e-7)))
    times: list[float] = []
    while len(times) < most:
        times.append(timed(run, number, device).wall)
        if len(times) >= 6 and np.median(times[-3:]) > 0.95 * np.median(times[-6:-3]):
            break
    return max(1, round(SAMPLE_S / min(times)))


def _interleaved(steps: Sequence[Step], number: int, device: torch.device, rounds: int) -> list[list[Sample]]:
    """Samples of each step; every round takes one of each, in an order that changes."""
    samples: list[list[Sample]] = [[] for _ in steps]
    orders = cycle(permutations(range(len(steps))))
    for _ in range(1 + EXTENSIONS):
        for order in islice(orders, rounds):
            for i in order:
                samples[i].append(timed(steps[i], number, device))
        if _ratios(samples[0], samples[1:]).variation <= STEADY:
            break
    return samples


def _ratios(a: list[Sample], b: Sequence[list[Sample]], clock: str = "wall") -> Interval:
    """Of each round, the time of `a` over the mean of those in `b`."""
    below = np.mean([[getattr(s, clock) for s in samples] for samples in b], axis=0)
    return median(np.array([getattr(s, clock) for s in a]) / np.maximum(below, 1e-9))


def median(values: Sequence[float] | np.ndarray) -> Interval:
    """The median and its interval: the order statistics that enclose it in 95 of 100 samples, or all.

    Its variation is the larger of two estimates: from the interval, as if the values were independent, and
    from the medians of blocks of consecutive values, which a neighbour's load comes and goes between.
    """
    ordered = np.sort(values)
    rank = max(_tail(len(ordered)) - 1, 0)
    middle, low, high = float(np.median(ordered)), float(ordered[rank]), float(ordered[-1 - rank])
    blocks = [np.median(block) for block in np.array_split(values, min(BLOCKS, len(ordered)))]
    spread = np.std(blocks, ddof=1) / len(blocks) ** 0.5 if len(blocks) > 1 else 0.0
    return Interval(middle, low, high, float(max((high - low) / (2 * 1.96), spread) / middle))


def _tail(count: int) -> int:
    """The 2.5 % quantile of the binomial distribution of so many fair coins."""
    ways = accumulate(math.comb(count, heads) for heads in range(count + 1))
    return next(heads for heads, below in enumerate(ways) if 40 * below >= 2**count)


def _summary(samples: list[list[Sample]], device: torch.device) -> dict[str, Any]:
    candidate, *controls = samples
    ratio, null = _ratios(candidate, controls), _ratios(controls[1], controls[:1])
    cpu = _ratios(candidate, controls, "cpu") if device.type == "cpu" else None
    cpu_null = _ratios(controls[1], controls[:1], "cpu") if device.type == "cpu" else None
    return {
        **_milliseconds("", "median_ms", candidate),
        **_milliseconds("control_", "ms", controls[0] + controls[1]),
        "ratio": round(ratio.median, 5),
        "ratio_low": round(ratio.low, 5),
        "ratio_high": round(ratio.high, 5),
        "noise": _noise(null),
        "cv": round(ratio.variation, 5),
        "steady": ratio.variation <= STEADY,
        "cpu_ratio": cpu and round(cpu.median, 5),
        "cpu_ratio_low": cpu and round(cpu.low, 5),
        "cpu_ratio_high": cpu and round(cpu.high, 5),
        "cpu_noise": cpu_null and _noise(cpu_null),
        "disturbed": cpu and abs(cpu.median - ratio.median) > AGREEMENT,
        "rounds": len(candidate),
    }


def _noise(null: Interval) -> float:
    """How far from 1 the ratio of the control to itself may lie."""
    return round(max(abs(null.low - 1), abs(null.high - 1)), 5)


def _milliseconds(prefix: str, middle: str, samples: list[Sample]) -> dict[str, float]:
    quartiles = np.quantile([1000 * s.wall for s in samples], (0.25, 0.5, 0.75)).round(4).tolist()
    return dict(zip((f"{prefix}q1_ms", f"{prefix}{middle}", f"{prefix}q3_ms"), quartiles))
