"""What a network cannot be trained with, found out once it is built and before anything is measured."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from attnbench.config.recipe import Precision
from attnbench.config.schema import Config
from attnbench.errors import UserError
from attnbench.training.distributed import Group


def check(config: Config, network: nn.Module, images: int, group: Group) -> None:
    """Raise `UserError` for a batch or a precision that this network on its device cannot train with."""
    _check_batch(config, network, images, group)
    _check_precision(config.recipe.precision, network)


def _check_batch(config: Config, network: nn.Module, images: int, group: Group) -> None:
    batch = config.recipe.batch_size
    if images < batch:
        raise UserError(f"recipe.batch_size={batch} is more than the {images} training images")
    if batch % group.world:
        raise UserError(f"recipe.batch_size={batch} does not divide among {group.world} processes")
    part = batch // group.world
    size = config.hardware.micro_batch or part
    alone = part < 2 or size < 2 or part % size == 1
    if batch > 1 and alone and any(isinstance(m, _BatchNorm) for m in network.modules()):
        raise UserError(
            f"one image at a time: recipe.batch_size={batch} in {group.world} processes with "
            f"hardware.micro_batch={config.hardware.micro_batch}; batch normalization needs two or more"
        )


def _check_precision(precision: Precision, network: nn.Module) -> None:
    """torch's LSTMs have no kernel for fp16 on many CPUs, and a slow one on the others."""
    on_cpu = next(network.parameters()).device.type == "cpu"
    if precision != Precision.fp16 or not on_cpu:
        return
    if (name := next((n for n, m in network.named_modules() if isinstance(m, nn.LSTM)), None)) is not None:
        raise UserError(
            f"recipe.precision=fp16: an LSTM ({name}) cannot train in fp16 on a CPU; "
            "recipe.precision=bf16 or fp32, or hardware.device=cuda"
        )
