"""Runs cells one after the other in a group of processes: `python -m torch.distributed.run ... FILE`."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist

from attnbench import run
from attnbench.sweep.experiment import cell
from attnbench.training import distributed


@contextmanager
def joined(device: torch.device) -> Iterator[distributed.Group]:
    """The group that all cells of this process share: it is made once."""
    yield distributed.Group(dist.get_rank(), dist.get_world_size())


def main(file: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    distributed.joined = joined
    for words in json.loads(Path(file).read_text()):
        run.run(cell(words))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
