"""The truth on disk: one JSON file a cell, written whole or not at all."""

import errno
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attnbench.errors import UserError

SCHEMA = 1
Record = dict[str, Any]


def folder(results: Path) -> Path:
    """Where the records lie."""
    return results / "cells"


def path(results: Path, key: str) -> Path:
    """The file of one cell's record."""
    return folder(results) / f"{key}.json"


def find(results: Path, key: str) -> Record | None:
    """The record of a cell, or None; a damaged file counts as none and will be written anew."""
    try:
        return _parse(path(results, key))
    except (OSError, ValueError):
        return None


def read(results: Path) -> tuple[list[Record], dict[str, str]]:
    """All records in the order of their keys, and for each file that is none, what is wrong with it."""
    found: list[Record] = []
    damaged: dict[str, str] = {}
    for file in sorted(folder(results).glob("*.json")):
        try:
            found.append(_parse(file))
        except (OSError, ValueError) as error:
            damaged[file.name] = str(error)
    return found, damaged


def write(results: Path, record: Mapping[str, Any]) -> Path:
    """Write a record; raises `UserError` where the disk is full or the folder cannot be written."""
    target = path(results, record["key"])
    text = json.dumps({"schema": SCHEMA, **record}, indent=1, sort_keys=True, allow_nan=False, default=str)
    write_whole(target, (text + "\n").encode())
    return target


def write_whole(target: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash at any moment, sees the old content or all of the new."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.chmod(file.name, 0o644)
                os.replace(file.name, target)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        raise UserError(f"cannot write {target}: {reason}; what was written before is kept") from error


def _parse(file: Path) -> Record:
    record = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(record, dict):
        raise ValueError("no record: not a JSON object")
    if missing := [k for k in ("key", "status", "cell", "table") if k not in record]:
        raise ValueError(f"no record: it lacks {', '.join(missing)}")
    if record.get("schema") != SCHEMA:
        raise ValueError(f"schema {record.get('schema')}, this version reads {SCHEMA}")
    if file.stem != record["key"]:
        raise ValueError(f"its key is {record['key']}, not its file's name")
    return record
