"""Loader processes hand over batches in shared memory, of which containers often have only 64 MB."""

import shutil
from pathlib import Path

from attnbench.errors import UserError

PLACE = Path("/dev/shm")
AHEAD = 2  # batches that each process has ready


def check(batch_bytes: int, workers: int) -> None:
    """Raise `UserError` where the batches that loader processes keep ready do not fit."""
    need, free = needed(batch_bytes, workers), available()
    if free is not None and need > free:
        raise UserError(f"{sentence(batch_bytes, workers)}; {WAYS}")


def sentence(batch_bytes: int, workers: int) -> str:
    """What loader processes need, and what there is."""
    free = available()
    there = "its size is not known" if free is None else f"{free / 1e6:.0f} MB are free"
    need = needed(batch_bytes, workers)
    return f"{workers} loader processes need {need / 1e6:.0f} MB of shared memory ({PLACE}), and {there}"


WAYS = (
    "make it larger (docker run --shm-size=1g), or need less by hardware.workers=N (0: no loader processes) "
    "or recipe.batch_size=N"
)


def needed(batch_bytes: int, workers: int) -> int:
    """Bytes of the batches that are ready, and of the one in use."""
    return (AHEAD * workers + 1) * batch_bytes if workers else 0


def available() -> int | None:
    """Bytes of shared memory that are free; None where there is no such place."""
    try:
        return shutil.disk_usage(PLACE).free
    except OSError:
        return None
