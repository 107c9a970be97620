"""All files of a data set, examined before the first of them is used: their headers, ends and contents.

A file's digest covers its size and its first and last 64 KiB, which is all of most images. Digests are kept
in the cache's folder and used again for files whose size and time of change are the same.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image, UnidentifiedImageError

from attnbench.data.contents import FILES
from attnbench.data.pipeline import listing
from attnbench.data.pipeline.images import BROKEN, usable
from attnbench.data.pipeline.places import cache_folder
from attnbench.errors import UserError

READ = 1 << 16  # bytes, at each end
DIGEST = 16  # bytes
KEPT_FROM = 1000  # files of which digests are kept: fewer are examined again
THREADS = 8
NAMED = 5  # faults that a message names
ENDS: dict[str, bytes] = {"JPEG": b"\xff\xd9", "PNG": b"IEND", "GIF": b";"}  # of whole files
NEAR = 64  # bytes from the end in which that lies
Size = tuple[int, int]  # height and width, px; 0 and 0 where it is not known
Look = Callable[[Path, bytes], Size]  # a file and its last bytes; raises what is wrong with it


class Fault(ValueError):
    """What is wrong with a file, as the rest of a sentence about it."""


class Seen(NamedTuple):
    """What was found of files, in their order."""

    digests: UInt8[np.ndarray, "n 16"]
    sizes: Int[np.ndarray, "n 2"]  # height and width, px


def checksum(digests: UInt8[np.ndarray, "n 16"], *arrays: np.ndarray) -> str:
    """Of files' contents in their order, and of what the arrays say of them."""
    digest = sha256(np.ascontiguousarray(digests).data)
    for array in arrays:
        digest.update(np.ascontiguousarray(array, np.int64).data)
    return f"{FILES}{digest.hexdigest()[:16]}"


class Examination:
    """Files examined together, so that what is wrong with any of them is named at once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.faults: list[tuple[Path, str]] = []

    def __call__(self, paths: Sequence[Path], look: Look) -> Seen:
        """Examine files; what is wrong is kept until `finish`."""
        states = [_state(path) for path in paths]
        store = _store(paths) if len(paths) >= KEPT_FROM else None
        digests, sizes = _kept(store, states)
        stale = np.flatnonzero(~digests.any(1)).tolist()
        with ThreadPoolExecutor(THREADS) as readers:
            found = readers.map(lambda row: _examined(paths[row], look), stale)
            for row, seen in zip(stale, found):
                if isinstance(seen, str):
                    self.faults.append((paths[row], seen))
                else:
                    digests[row], sizes[row] = np.frombuffer(seen[0], np.uint8), seen[1]
        if store is not None and len(stale):
            _keep(store, states, digests, sizes)
        return Seen(digests, sizes)

    def finish(self) -> None:
        """Raise `UserError` with all faults, of many the first few."""
        if not self.faults:
            return
        named = "; ".join(f"{listing.shown(path)} {fault}" for path, fault in self.faults[:NAMED])
        rest = f"; and {len(self.faults) - NAMED} more" if len(self.faults) > NAMED else ""
        some = "1 file" if len(self.faults) == 1 else f"{len(self.faults)} files"
        raise UserError(f"data set '{self.name}': {some} cannot be used (replace or delete): {named}{rest}")


def picture(path: Path, end: bytes) -> Size:
    """An image's height and width; raises where it cannot be decoded or shows its end to be missing."""
    with Image.open(path) as image:
        usable(image)
        _whole(image, end)
        return image.height, image.width


def mask(path: Path, end: bytes) -> Size:
    """A mask's height and width; raises as `picture` does, and for pictures in colour."""
    with Image.open(path) as image:
        if len(image.getbands()) > 1:
            raise Fault("is a picture in color; a mask holds one class number a pixel")
        _whole(image, end)
        return image.height, image.width


def content(path: Path, end: bytes) -> Size:
    """Any other file, of which only the content is looked at."""
    return 0, 0


def _whole(image: Image.Image, end: bytes) -> None:
    """Decode an image whose last bytes do not show that it is whole."""
    mark = ENDS.get(image.format or "")
    if mark is None or mark not in end[-NEAR:]:
        image.load()


def _examined(path: Path, look: Look) -> tuple[bytes, Size] | str:
    """A file's digest and size, or what is wrong with it."""
    try:
        with path.open("rb") as file:
            count = os.fstat(file.fileno()).st_size
            if count == 0:
                return "is empty"
            head = file.read(READ)
            file.seek(max(count - READ, len(head)))
            tail = file.read(READ)
        digest = sha256(b"".join((count.to_bytes(8, "little"), head, tail))).digest()[:DIGEST]
        return digest, look(path, tail or head)
    except FileNotFoundError:
        return "links to what does not exist" if path.is_symlink() else "is missing"
    except Fault as fault:
        return str(fault)
    except UnidentifiedImageError:
        return "cannot be read as an image"
    except BROKEN as error:
        return f"cannot be read: {(getattr(error, 'strerror', None) or str(error)).splitlines()[0]}"


def _state(path: Path) -> tuple[int, int]:
    """Size and time of change; -1 where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _store(paths: Sequence[Path]) -> Path:
    """Where the digests of these files are kept."""
    key = sha256(b"\0".join(os.fsencode(path.absolute()) for path in paths)).hexdigest()[:16]
    return cache_folder() / "examined" / f"{key}.npz"


def _kept(store: Path | None, states: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Digests and sizes of the files that have not changed since they were kept; zeros for all others."""
    digests, sizes = np.zeros((len(states), DIGEST), np.uint8), np.zeros((len(states), 2), np.int64)
    if store is None or not store.is_file():
        return digests, sizes
    known = np.array(states)
    with suppress(OSError, ValueError, KeyError, EOFError), np.load(store) as before:  # a damaged one is none
        same = (before["states"] == known).all(1) & (known[:, 0] > 0)
        digests[same], sizes[same] = before["digests"][same], before["sizes"][same]
    return digests, sizes


def _keep(store: Path, states: Sequence[tuple[int, int]], digests: np.ndarray, sizes: np.ndarray) -> None:
    """Keep what was found, where there is room: without, files are examined again."""
    with suppress(OSError):
        store.parent.mkdir(parents=True, exist_ok=True)
        part = store.with_suffix(f".{os.getpid()}.part")
        with part.open("wb") as file:
            np.savez(file, states=np.array(states), digests=digests, sizes=sizes)
        part.replace(store)
