"""The weights of a trained network, kept on request."""

import os
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_model
from torch import nn

from attnbench.errors import Unwritable


def keep(network: nn.Module, file: Path, key: str) -> None:
    """Write a network's weights, whole or not at all; their metadata names the cell. Raises `Unwritable`."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_model(network, str(part), metadata={"key": key})
        os.replace(part, file)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise Unwritable(f"cannot write {file}: {error}; the cell goes on from its checkpoint") from error
