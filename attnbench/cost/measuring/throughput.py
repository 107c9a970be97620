"""Images a second, and the batch size that gives the most."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from attnbench.config.recipe import Precision
from attnbench.cost.measuring.latency import timed, torch_threads, warm_up
from attnbench.cost.measuring.step import Conditions, step
from attnbench.errors import Impossible


def throughput(
    model: nn.Module,
    image: tuple[int, ...],
    *,
    device: torch.device | str = "cpu",
    batches: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
    rounds: int = 5,
    training: bool = False,
    mode: str = "eager",
    precision: Precision = Precision.fp32,
    channels_last: bool = False,
    threads: int = 1,
) -> dict[str, Any]:
    """Images a second at the best of the batch sizes, which are tried in turn while they gain 2 % or more.

    `tried` has the median rate of each. A batch that does not fit into memory ends the search; if none fits,
    raises `Impossible`.
    """
    tried: dict[int, float] = {}
    with torch_threads(threads):
        for batch in batches:
            on = Conditions(image, batch, torch.device(device), training, mode, precision, channels_last)
            on.check()
            best = max(tried.values(), default=0.0)
            try:
                tried[batch] = round(_rate(model, on, rounds), 2)
            except torch.OutOfMemoryError:
                break
            if tried[batch] < 1.02 * best:
                break
    if not tried:
        raise Impossible(f"a batch of {batches[0]} does not fit into memory")
    best_batch = max(tried, key=lambda batch: tried[batch])
    return {
        "images_per_s": tried[best_batch],
        "batch": best_batch,
        "tried": {str(b): r for b, r in tried.items()},
    }


def _rate(model: nn.Module, on: Conditions, rounds: int) -> float:
    run = step(model, on)
    number = warm_up(run, on.device)
    return on.batch / float(np.median([timed(run, number, on.device).wall for _ in range(rounds)]))
