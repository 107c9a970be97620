"""From a results folder to the records that a table can show, and the numbers in them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attnbench import records
from attnbench.garbage import uncollected
from attnbench.records import Record, schema

VARIES = ("attn", "site", "seed", "hardware", "track", "launch", "results", "runs")  # settings, in a table


@dataclass
class Loaded:
    """The records of a folder in the order of their keys, and why other files are none."""

    records: list[Record]
    unreadable: dict[str, str]  # file's name -> reason


def load(results: Path) -> Loaded:
    """Read `results/cells/*.json`; a file that is no record is kept by name, with the reason."""
    with uncollected():
        found, damaged = records.read(results)
    wrong = {f"{r['key']}.json": why for r in found if (why := schema.problem(r))}
    good = [record for record in found if f"{record['key']}.json" not in wrong]
    return Loaded(good, dict(sorted({**damaged, **wrong}.items())))


def at(record: Record, *path: str) -> Any:
    """What stands at that path of keys; None where anything on the way is missing.

    Raises `LookupError` for a path that no record has.
    """
    schema.check(path)
    value: Any = record
    try:
        for key in path:
            value = value[key]
    except (KeyError, TypeError):
        return None
    return value


def number(record: Record, *path: str) -> float | None:
    """The finite number at that path; None for anything else, which counts as not measured."""
    return finite(at(record, *path))


def finite(value: Any) -> float | None:
    """The value where it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def images(record: Record, split: str) -> float | None:
    """How many inputs a split has: as counted while running, else as the settings limit it."""
    counted = number(record, "provenance", "images", split)
    return number(record, "config", "data", split) if counted is None else counted


def micro_batch(record: Record, whatever_norm: bool = False) -> float | None:
    """How many images the network saw at a time where it saw fewer than the batch, else None.

    None where no batch norm is at work, which makes no difference then, unless `whatever_norm`.
    """
    size = number(record, "provenance", "micro_batch") or number(record, "config", "hardware", "micro_batch")
    batch = number(record, "config", "recipe", "batch_size")
    if size is None or (batch is not None and size >= batch):
        return None
    return size if whatever_norm or at(record, "provenance", "batch_norm") is not False else None


def distinct(found: Iterable[Record], *path: str) -> list[str]:
    """The different values at that path as sorted text, missing ones left out."""
    values: list[Any] = []
    for record in found:
        if (value := at(record, *path)) not in values:
            values.append(value)
    return sorted({str(value) for value in values if value not in (None, "")})


def started(record: Record) -> datetime:
    """When the cell began; the oldest of times where the record does not say."""
    oldest = datetime.min.replace(tzinfo=UTC)
    try:
        time = datetime.fromisoformat(at(record, "provenance", "started"))
    except (TypeError, ValueError):
        return oldest
    return time if time.tzinfo else time.replace(tzinfo=UTC)
