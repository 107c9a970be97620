"""Batch norms that see the batches of all processes, on every device.

timm's converter exchanges all batch norms of a network, those with an activation of their own included, for
torch's `SyncBatchNorm`. That one runs on GPUs alone; elsewhere the same modules compute by reductions written
here, so that conversion and training take one path everywhere.
"""

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_autograd
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from attnbench.grafting.exchange import exchange

HOOKS = ("_forward_hooks", "_forward_pre_hooks")
OF_TORCH = ("cuda", "xpu")  # devices for which torch's SyncBatchNorm has kernels


def synchronize(network: nn.Module, device: torch.device) -> None:
    """Exchange the batch norms of a network, in place; parameters and buffers stay the same objects.

    Each is converted by itself and once: timm's converter, given a network, takes the activation from a norm
    that it meets a second time, and forgets hooks.
    """
    from timm.layers import convert_sync_batchnorm

    norms = [
        m for m in network.modules() if isinstance(m, _BatchNorm) and not isinstance(m, nn.SyncBatchNorm)
    ]
    new = {id(norm): convert_sync_batchnorm(norm) for norm in norms}
    for norm, converted in zip(norms, new.values()):
        for hooks in HOOKS:
            getattr(converted, hooks).update(getattr(norm, hooks))
        if device.type not in OF_TORCH:
            converted.__class__ = _reduced(type(converted))
    exchange(network, new)


def _reduced(kind: type[nn.SyncBatchNorm]) -> type[nn.SyncBatchNorm]:
    """The kind of norm with the statistics of `Reduced`; what it does after normalizing stays its own."""
    return type(f"Reduced{kind.__name__}", (kind, Reduced), {}) if kind is not nn.SyncBatchNorm else Reduced


class Reduced(nn.SyncBatchNorm):
    """`SyncBatchNorm` by differentiable sums over the processes, in full precision."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x (b c ...) by the statistics of all processes in training, by the running ones else."""
        if not self.training or not dist.is_initialized():
            return super().forward(x)
        axes, shape = [0, *range(2, x.ndim)], [1, -1, *([1] * (x.ndim - 2))]
        full = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        count = x.numel() // x.shape[1] * dist.get_world_size()
        mean = dist_autograd.all_reduce(full.sum(axes)) / count
        centered = full - mean.view(shape)
        variance = dist_autograd.all_reduce(centered.square().sum(axes)) / count
        self._remember(mean.detach(), variance.detach() * (count / max(count - 1, 1)))
        scale = torch.rsqrt(variance + self.eps)
        if not self.affine:
            return (centered * scale.view(shape)).to(x.dtype)
        return (centered * (scale * self.weight).view(shape) + self.bias.view(shape)).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_(variance.to(self.running_var), share)
