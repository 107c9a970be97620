"""Runs cells one after the other in a group of processes: `python -m torch.distributed.run ... FILE`."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from attnbench import running
from attnbench.config.schema import Config
from attnbench.sweeping.experiment import cell
from attnbench.training import distributed, evaluation, loop

formatted, build = evaluation.formatted, running.build


@contextmanager
def joined(device: torch.device) -> Iterator[distributed.Group]:
    """The group that all cells of this process share: it is made once."""
    yield distributed.Group(dist.get_rank(), dist.get_world_size())


def in_double(patch: pytest.MonkeyPatch) -> None:
    """Have cells train and evaluate in double precision.

    In single precision some networks amplify the last bit of a weight to the second digit of a loss within
    four steps: there the order of a sum decides what two runs have in common.
    """

    def doubled(*given: object) -> nn.Module:
        return build(*given).double()  # type: ignore[arg-type]

    def batches(steps: Iterable[tuple[Tensor, Tensor]], config: Config) -> Iterator[tuple[Tensor, Tensor]]:
        for images, targets in formatted(steps, config):
            yield images.double(), targets

    patch.setattr(running, "build", doubled)
    for module in (loop, evaluation):
        patch.setattr(module, "formatted", batches)


def main(file: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    distributed.joined = joined
    in_double(pytest.MonkeyPatch())
    for words in json.loads(Path(file).read_text()):
        running.run(cell(words))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
