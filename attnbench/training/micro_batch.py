"""A batch that memory has no room for is trained in smaller parts."""

import gc
from collections.abc import Callable
from pathlib import Path

import torch

from attnbench.config.schema import Config
from attnbench.records import CHECKPOINT, write_whole
from attnbench.training.outcome import Measured

SMALLEST = 2  # images of a micro-batch: batch normalisation cannot train on one


def lacks_memory(error: Exception) -> bool:
    """Whether it is memory that was missing, a GPU's or the machine's."""
    words = ("out of memory", "can't allocate memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(w in str(error) for w in words)


def try_smaller(
    config: Config, alone: bool, folder: Path, note: Callable[[str], None], measured: Measured
) -> bool:
    """Whether another try, from the start and in smaller micro-batches, may fit into memory."""
    size = measured.micro_batch or config.hardware.micro_batch or config.recipe.batch_size
    size = -(-size // 2)
    if measured.cost is None or not config.recipe.trains or not alone or size < SMALLEST:
        return False
    measured.micro_batch, measured.traceback = size, None
    forget(folder)
    # A try that is interrupted goes on with the same.
    write_whole(folder / "micro_batch", str(size).encode(), sync=False)
    note(stated(config, size) or "")
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return True


def stated(config: Config, size: int | None) -> str | None:
    """What the record of a cell that was trained in micro-batches says of it."""
    if size is None:
        return None
    batch = config.recipe.batch_size
    return f"out of memory with {batch} images at once: trained in micro-batches of {size}"


def kept(folder: Path) -> int | None:
    """The size of the micro-batches that an interrupted try had come down to."""
    try:
        return int((folder / "micro_batch").read_text())
    except (OSError, ValueError):
        return None


def forget(folder: Path) -> None:
    """Remove what a try left behind that others are not to go on from."""
    for name in (CHECKPOINT, "micro_batch"):
        (folder / name).unlink(missing_ok=True)
