"""Data parallel training under torchrun: who we are, and what the processes tell each other."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from attnbench.training.sync_norm import synchronize


@dataclass(frozen=True)
class Group:
    """The processes that train one network together; alone by default."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    def add(self, total: Tensor) -> Tensor:
        """Sum a tensor over the processes, in place."""
        if self.world > 1:
            dist.all_reduce(total)
        return total

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is set in any process."""
        if self.world == 1:
            return flag
        return bool(self.add(torch.tensor(float(flag), device=device)))

    def gather(self, part: Tensor) -> Tensor:
        """A batch from the parts of all processes, of which process r has rows r, r + world, ..."""
        if self.world == 1:
            return part
        parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(self.world)]
        dist.all_gather(parts, part.contiguous())
        return torch.stack(parts, 1).flatten(0, 1)

    def own(self, whole: Tensor) -> Tensor:
        """This process's part of a whole batch."""
        return whole if self.world == 1 else whole[self.rank :: self.world]

    def wrap(self, network: nn.Module, device: torch.device) -> nn.Module:
        """The network whose gradients, and batch statistics, are those of the whole batch."""
        if self.world == 1:
            return network
        ids = [device.index] if device.type == "cuda" else None
        parallel = DistributedDataParallel(network, device_ids=ids, broadcast_buffers=False)
        synchronize(network, device)  # afterwards: torch's wrapper refuses SyncBatchNorm on CPUs unseen
        return parallel

    def follow(self, network: nn.Module) -> "Running":
        """What keeps the network's running buffers the same in all processes."""
        return Running(self, network)


class Running:
    """Buffers that training moves by the batch, such as running means: averaged over the processes.

    Each process moves its own by its share of the batch, so their mean has moved by the whole batch. Which
    ones move is seen by their versions. Those of batch norms hold the whole batch's statistics already.
    """

    def __init__(self, group: Group, network: nn.Module) -> None:
        self.group = group
        self.owners = [m for m in network.modules() if m._buffers and not isinstance(m, _BatchNorm)]
        self.seen = self._versions() if group.world > 1 else {}

    def _versions(self) -> dict[tuple[int, str], tuple[Tensor, int]]:
        return {
            (index, name): (buffer, buffer._version)
            for index, owner in enumerate(self.owners)
            for name, buffer in owner._buffers.items()
            if buffer is not None and buffer.is_floating_point()
        }

    @torch.no_grad()
    def average(self) -> None:
        """Average those that have moved since the last call."""
        if self.group.world == 1:
            return
        for key, (buffer, version) in self._versions().items():
            before, old = self.seen.get(key, (None, -1))
            if buffer is not before or version != old:
                self.group.add(buffer).div_(self.group.world)
        self.seen = self._versions()


@contextmanager
def joined(device: torch.device) -> Iterator[Group]:
    """The group that torchrun started this process in."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Group()
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Group(dist.get_rank(), world)
    finally:
        dist.destroy_process_group()


LOST = ("DataLoader worker (pid", "Connection closed by peer", "Connection reset by peer", "Broken pipe")


def process_lost(error: Exception) -> bool:
    """Whether an error reports the death of a loader process or of another process of the group."""
    return isinstance(error, dist.DistError) or any(words in str(error) for words in LOST)
