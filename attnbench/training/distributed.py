"""Data parallel training under torchrun: who we are, and what the processes tell each other."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_autograd
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel


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
        if device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
            return DistributedDataParallel(network, device_ids=[device.index], broadcast_buffers=False)
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.__class__ = _synchronised(type(module))
        return DistributedDataParallel(network, broadcast_buffers=False)


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


def _synchronised(kind: type[_BatchNorm]) -> type[_BatchNorm]:
    """A batch normalisation over the batches of all processes; torch's own runs on GPUs only."""
    return type(f"Synchronised{kind.__name__}", (_Synchronised, kind), {})


class _Synchronised(_BatchNorm):
    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        axes = [0, *range(2, x.ndim)]
        count = x.numel() // x.shape[1] * dist.get_world_size()
        mean = dist_autograd.all_reduce(x.sum(axes)) / count
        shape = [1, -1, *([1] * (x.ndim - 2))]
        centred = x - mean.view(shape)
        variance = dist_autograd.all_reduce(centred.square().sum(axes)) / count
        self._remember(mean.detach(), variance.detach() * (count / max(count - 1, 1)))
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            return centred * (scale * self.weight).view(shape) + self.bias.view(shape)
        return centred * scale.view(shape)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)
