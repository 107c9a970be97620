"""The truth on disk: one JSON file a cell, written whole or not at all."""

import errno
import itertools
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from attnbench.errors import Unwritable
from attnbench.records import schema

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"  # of a cell that is not done, in its folder of runs/
WEIGHTS = "weights.safetensors"  # of a trained cell, beside where its checkpoint was
TRIES = 3  # of a cell, each of them interrupted before it got any further
Record = dict[str, Any]


def folder(results: Path) -> Path:
    """Where the records lie."""
    return results / "cells"


def path(results: Path, key: str) -> Path:
    """The file of one cell's record."""
    return folder(results) / f"{key}.json"


def find(results: Path, key: str) -> Record | None:
    """The record of a cell, or None; a damaged file counts as none, and is kept aside when one is written."""
    try:
        return parse(path(results, key))
    except (OSError, ValueError):
        return None


def read(results: Path) -> tuple[list[Record], dict[str, str]]:
    """All records in the order of their keys, and for each file that is none, what is wrong with it."""
    found: list[Record] = []
    damaged: dict[str, str] = {}
    for file in sorted(folder(results).glob("*.json")):
        try:
            found.append(parse(file))
        except (OSError, ValueError) as error:
            damaged[file.name] = str(error)
    return found, damaged


def stamp(results: Path, key: str) -> int | None:
    """When a cell's record was written, in ns; None where there is none."""
    return None if find(results, key) is None else written(path(results, key))


def written(file: Path) -> int | None:
    """When a file was last written, in ns; None where there is none."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return None


class Tries:
    """Counts how often a cell was interrupted without any progress in between."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint, self.last, self.count = checkpoint, written(checkpoint), 0

    def again(self) -> bool:
        """Count an interruption; whether the cell is to be tried again."""
        before, self.last = self.last, written(self.checkpoint)
        self.count = 1 if self.last != before else self.count + 1
        return self.count < TRIES


class Busy(Exception):
    """Another process holds the lock."""


@contextmanager
def locked(file: Path, wait: bool = False) -> Iterator[None]:
    """Hold a lock file; the system releases it however this process ends. Raises `Busy` or `Unwritable`.

    On a file system without locks it warns once and holds nothing: a cell may then run twice, but is recorded
    once, since `write_first` creates a record exclusively.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    except OSError as error:
        raise Unwritable(f"cannot write {file.parent}: {error.strerror}") from error
    lock = FileLock(file, blocking=wait, fallback_to_soft=False)  # a soft lock outlives a killed process
    try:
        lock.acquire()
    except Timeout:
        raise Busy from None
    except OSError as error:
        _warn_of_no_locks(file.parent.parent, error.strerror or "")
    try:
        yield
    finally:
        lock.release()


@cache
def _warn_of_no_locks(folder: Path, reason: str) -> None:
    log.warning("%s is on a file system without locks (%s): cells may run twice", folder, reason)


def write(results: Path, record: Mapping[str, Any]) -> Path:
    """Write a record; raises `Unwritable` where the disk is full or the folder cannot be written."""
    target = path(results, record["key"])
    if _damaged(target):
        set_aside(target)
    write_whole(target, _text(record))
    return target


def write_first(results: Path, record: Mapping[str, Any]) -> bool:
    """Write a record unless the cell has one, whoever else tries at this moment; whether it was written."""
    target = path(results, record["key"])
    if _damaged(target):
        set_aside(target)
    return write_whole(target, _text(record), replace=False)


def _damaged(file: Path) -> bool:
    try:
        parse(file)
    except ValueError:
        return True
    except OSError:
        return False
    return False


def set_aside(file: Path) -> Path:
    """Rename a damaged file, so that another can take its place and nothing is lost; its new name."""
    names = (file.with_name(f"{file.name}.damaged{number}") for number in itertools.count(1))
    aside = next(name for name in names if not name.exists())
    with suppress(FileNotFoundError):  # another process was quicker
        os.replace(file, aside)
    return aside


def check_writable(results: Path) -> None:
    """Raise `Unwritable` where no record can be written: before hours of training, not after."""
    cells = folder(results)
    try:
        cells.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unwritable(f"cannot write {cells}: {error.strerror}") from error
    if not os.access(cells, os.W_OK):
        raise Unwritable(f"cannot write {cells}: the folder is read-only; name another one in results=FOLDER")


def _text(record: Mapping[str, Any]) -> bytes:
    text = json.dumps(
        {"schema": schema.VERSION, **record}, indent=1, sort_keys=True, allow_nan=False, default=str
    )
    return (text + "\n").encode()


def write_whole(target: Path, content: bytes, *, replace: bool = True, sync: bool = True) -> bool:
    """Write a file so that a reader, or a crash at any moment, sees the old content or all of the new.

    Without `replace` a file that exists is left as it is; whether this one was written. Without `sync` it
    may be lost, but not by a process's end, if the machine loses its power. Raises `Unwritable`.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
            try:
                file.write(content)
                file.flush()
                if sync:
                    os.fsync(file.fileno())
                os.chmod(file.name, 0o644)
                return _placed(file.name, target, replace)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(file.name)
                raise
    except OSError as error:
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
        raise Unwritable(f"cannot write {target}: {reason}; what was written before is kept") from error


def _placed(file: str, target: Path, replace: bool) -> bool:
    """Give a finished file its name; whether it has it now."""
    if not replace:
        try:
            os.link(file, target)  # of several at once, on whatever machines, one succeeds
        except FileExistsError:
            taken = True
        except OSError:  # a file system without links
            taken = target.exists()
        else:
            os.unlink(file)
            return True
        if taken:
            os.unlink(file)
            return False
    os.replace(file, target)
    return True


def parse(file: Path) -> Record:
    """The record of a file, in the present version; raises `OSError` or `ValueError` with what is wrong."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("not a record: brackets in brackets without end") from None
    if not isinstance(record, dict):
        raise ValueError("not a record: not a JSON object")
    if missing := [key for key in schema.NEEDED if key not in record]:
        raise ValueError(f"not a record: {', '.join(missing)} missing")
    record = schema.current(record)
    if file.stem != record["key"]:
        raise ValueError(f"its key is {record['key']}, not its file's name")
    return record
