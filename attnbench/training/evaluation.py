"""The evaluation of a network on a split, and what to do about outputs that are not numbers."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attnbench.config.recipe import Precision
from attnbench.config.schema import Config
from attnbench.data.pipeline.split import Split
from attnbench.tasks import Task
from attnbench.training.distributed import Group
from attnbench.training.optim import autocast


class Diverged(Exception):
    """Training or a last evaluation gave values that are not finite."""


class Stopped(Exception):
    """Someone asked to stop; the checkpoint holds all that was done."""


@dataclass(frozen=True)
class Evaluation:
    """The task's metrics on a split; without any where some outputs were not finite."""

    metrics: dict[str, float]
    nonfinite: int  # outputs, one an image or clip, with an infinity or a NaN
    outputs: int

    def row(self, split: str) -> dict[str, float]:
        """As part of an epoch's row, named after the split."""
        if self.nonfinite:
            return {f"{split}_nonfinite": self.nonfinite, f"{split}_outputs": self.outputs}
        return {f"{split}_{name}": value for name, value in self.metrics.items()}


@torch.inference_mode()
def evaluate(
    network: nn.Module,
    split: Split,
    task: Task,
    config: Config,
    group: Group,
    stop: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """The task's metrics on a split; raises `Stopped` on request, but not in a group of processes."""
    network.eval()
    device = next(network.parameters()).device
    meter = task.meter(device)
    counts = torch.zeros(2, device=device)  # outputs that are not finite, and all
    size = config.hardware.micro_batch or config.recipe.batch_size
    batches = split.batches(2 * size, rank=group.rank, world=group.world)
    for images, targets in formatted(batches, config):
        if group.world == 1 and stop():
            raise Stopped
        if not len(targets):  # a process that a small last batch leaves without images
            continue
        with autocast(config.recipe.precision, device):
            outputs = task.predict(network, images)
        finite = outputs.isfinite().flatten(1).all(1)
        counts += torch.stack([(~finite).sum(), torch.ones_like(finite).sum()])
        # Metrics are void where one output is not finite; what a meter sees must only not break it.
        meter.update(outputs.nan_to_num(0, 0, 0), targets)
    nonfinite, total = map(int, group.add(counts).tolist())
    group.add(meter.sums)
    return Evaluation({} if nonfinite else dict(meter.compute()), nonfinite, total)


def final(row: dict[str, float], split: str, precision: Precision) -> dict[str, float]:
    """The metrics of a split in the last row; raises `Diverged` where outputs were not finite."""
    if bad := row.get(f"{split}_nonfinite"):
        advice = " (fp16 overflows above 65504: try recipe.precision=bf16 or fp32)"
        raise Diverged(
            f"{bad:.0f} of {row[f'{split}_outputs']:.0f} outputs on the {split} split are not finite "
            f"after the last epoch{advice if precision == Precision.fp16 else ''}"
        )
    prefix = f"{split}_"
    return {k.removeprefix(prefix): v for k, v in row.items() if k.startswith(prefix)}


def formatted(batches: Iterable[tuple[Tensor, Tensor]], config: Config) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches in the memory layout that the hardware's settings ask for."""
    layout = torch.channels_last if config.hardware.channels_last else torch.contiguous_format
    for images, targets in batches:
        yield images.contiguous(memory_format=layout) if images.ndim == 4 else images, targets
