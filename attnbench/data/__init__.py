"""A data set's name -> its training, validation and test splits, as batches on the device.

The file is the reader: `data.source` (or else `data.name`) names a file of this folder that has
`build(data, device, workers) -> Dataset`.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnbench.config import Data
from attnbench.errors import UserError, unknown

if TYPE_CHECKING:
    import torch

    from attnbench.data.split import Dataset

READERS = ("cifar", "imagefolder", "scenes")


def load(data: Data, device: "torch.device", workers: int = 0) -> "Dataset":
    """Read a data set; raises `UserError` where it is unknown, missing, damaged or not as described.

    `workers` is the number of processes that decode images of sets that stream from a folder.
    """
    check(data)
    return import_module(f"{__name__}.{data.source or data.name}").build(data, device, workers)


def check(data: Data) -> None:
    """Refuse what no set could be, and settings that contradict each other; needs no torch."""
    reader = data.source or data.name
    if reader not in READERS:
        raise unknown("reader of data (data.source)", reader, READERS)
    if not len(data.mean) == len(data.std) == data.channels:
        raise UserError(
            f"data.mean and data.std have {len(data.mean)} and {len(data.std)} numbers; "
            f"data.channels={data.channels} asks for as many of each"
        )
    if min(data.std) <= 0:
        raise UserError(f"data.std={list(data.std)}: every number must be above 0")
    for name, least in (("size", 1), ("classes", 2), ("train", 1), ("val", 1), ("test", 1)):
        value = getattr(data, name)
        if value is not None and value < least:
            raise UserError(f"data.{name}={value}: must be at least {least}")


def root(data: Data) -> Path:
    """The folder that `data.root` names; raises `UserError` where none is set."""
    if not data.root:
        raise UserError(f"data set '{data.name}' needs data.root=FOLDER, the folder that holds it")
    return Path(data.root).expanduser()


def present(data: Data) -> None:
    """Raise `UserError` at once, without torch, where the folder that holds the set is not there."""
    if (data.source or data.name) != "scenes" and not data.download and not root(data).is_dir():
        raise UserError(
            f"data.root={data.root}: no such folder; data set '{data.name}' is looked for there "
            "(data.download=true lets torchvision fetch what it can)"
        )


def options(data: Data, **known: Any) -> dict[str, Any]:
    """`data.options` over their defaults; raises `UserError` for an unknown name or another type.

    An option whose default is None takes text or a number.
    """
    for name, value in data.options.items():
        if name not in known:
            raise unknown(f"option of data set {data.name} (data.options)", name, known)
        if known[name] is not None and not isinstance(value, type(known[name])):
            raise UserError(f"data.options.{name}={value!r}: must be of type {type(known[name]).__name__}")
    return {**known, **data.options}


def require(data: Data, **right: int) -> None:
    """Raise `UserError` where a setting is not what the set has."""
    for name, value in right.items():
        if getattr(data, name) != value:
            raise UserError(f"data.{name}={getattr(data, name)}: data set '{data.name}' has {value}")
