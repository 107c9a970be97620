"""What lies in a folder, by the same rules for every reader: hidden entries are skipped, unreadable refused.

Names are text as Python has it of any bytes (surrogates stand for what is not UTF-8).
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from attnbench.errors import UserError

NUMBERS = re.compile(r"(\d+)")


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts numbers within names by value: 2.png before 10.png."""
    parts = NUMBERS.split(name)
    return tuple((int(part), part) if i % 2 else (-1, part) for i, part in enumerate(parts))


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, in natural order; raises `UserError` where it cannot be read."""
    try:
        with os.scandir(folder) as found:
            seen = [entry for entry in found if not entry.name.startswith(".")]
    except OSError as error:
        raise UserError(f"{shown(folder)} cannot be read: {error.strerror}") from error
    return sorted(seen, key=lambda entry: natural(entry.name))


def folders(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted as text: one class each."""
    return sorted(entry.name for entry in entries(folder) if entry.is_dir())


def files(folder: Path, endings: tuple[str, ...]) -> list[str]:
    """The names of the files in a folder that have one of the endings, in natural order."""
    return [entry.name for entry in entries(folder) if entry.name.lower().endswith(endings)]


def tree(folder: Path, endings: tuple[str, ...]) -> list[str]:
    """The files at any depth, relative to the folder: folder by folder, in each by name, sorted as text."""
    found = sorted(_walk(folder, folder, endings, set()))
    return [os.path.join(within, name) for within, names in found for name in sorted(names)]


def _walk(
    top: Path, folder: Path, endings: tuple[str, ...], seen: set[tuple[int, int]]
) -> Iterator[tuple[str, list[str]]]:
    """Each folder below, links followed once, with the names of its files."""
    inside = entries(folder)
    state = folder.stat()
    if (state.st_dev, state.st_ino) in seen:
        return
    seen.add((state.st_dev, state.st_ino))
    within = os.path.relpath(folder, top)
    yield "" if within == "." else within, [e.name for e in inside if e.name.lower().endswith(endings)]
    for entry in inside:
        if entry.is_dir():
            yield from _walk(top, Path(entry.path), endings, seen)


def shown(path: Path) -> str:
    """A path as text that any terminal can print."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
