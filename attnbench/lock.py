"""One process at a time for each cell."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attnbench.errors import Unwritable


class Busy(Exception):
    """Another process is running this cell."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a cell's folder while it runs; the system lets go of the lock however this process ends.

    Raises `Busy` or `Unwritable`. Between machines it holds where their shared file system passes `flock` on
    (NFS does since Linux 2.6.12, unless mounted with `local_lock` or `nolock`). Where it does not, a cell may
    run twice, but is recorded once: the second record is refused.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("w")
    except OSError as error:
        raise Unwritable(f"cannot write {folder}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy from None
        yield
