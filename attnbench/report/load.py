"""From a results folder to the records that a table can show, and the numbers in them."""

import gc
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attnbench import records
from attnbench.records import Record

STATUSES = ("done", "failed", "diverged", "out_of_memory", "skipped")
NAMED = ("task", "backbone", "attn", "mechanism", "category")  # what a cell cannot be without
OPTIONAL = ("data", "site", "recipe")  # what a cell that trains nothing may lack
VARIES = ("attn", "site", "seed", "hardware", "track", "launch", "results", "runs")  # settings, in a table
TASKS_BEFORE = {  # tasks of costs alone, which are recipe=none now -> the task whose network they were of
    "profile": "cls",
    "seg_profile": "seg",
    "clip_profile": "clip",
    "retrieval_profile": "retrieval",
    "sequence_profile": "sequence",
    "skeleton_profile": "skeleton",
}
PARTS = ("config", "metrics", "cost", "provenance")


@dataclass
class Loaded:
    """The records of a folder in the order of their keys, and why other files are none."""

    records: list[Record]
    unreadable: dict[str, str]  # file's name -> reason


def load(results: Path) -> Loaded:
    """Read `results/cells/*.json`; a file that is no record is kept by name, with the reason."""
    with without_collection():
        found, damaged = records.read(results)
    wrong = {f"{r['key']}.json": reason for r in found if (reason := problem(r))}
    good = [renamed(r) for r in found if f"{r['key']}.json" not in wrong]
    return Loaded(good, dict(sorted({**damaged, **wrong}.items())))


def renamed(record: Record) -> Record:
    """The record with its task's present name; those that only had costs measured say so."""
    task = TASKS_BEFORE.get(record["cell"]["task"])
    if task is None:
        return record
    config = record.get("config") or {}
    parts: Record = {"task": {"name": task}, "recipe": {"trains": False}}
    changed = {name: {**(config.get(name) or {}), **part} for name, part in parts.items()}
    return {**record, "cell": {**record["cell"], "task": task}, "config": {**config, **changed}}


@contextmanager
def without_collection() -> Iterator[None]:
    """Thousands of records are all kept: to look for garbage among them takes as long as to read them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def problem(record: Record) -> str | None:
    """What keeps this from being a record that a table can show; None where nothing does."""
    if record["status"] not in STATUSES:
        return f"status {record['status']!r}; known: {', '.join(STATUSES)}"
    cell = record["cell"]
    if not isinstance(cell, dict) or type(cell.get("seed")) is not int:
        return "no cell with a whole number as its seed"
    wrong = [f"cell.{k}" for k in NAMED if not isinstance(cell.get(k), str)]
    wrong += [f"cell.{k}" for k in OPTIONAL if not isinstance(cell.get(k), str | None)]
    wrong += [k for k in PARTS if not isinstance(record.get(k), dict | None)]
    wrong += [k for k in ("table",) if not isinstance(record[k], str)]
    return f"of a type that no record has: {', '.join(wrong)}" if wrong else None


def at(record: Record, *path: str) -> Any:
    """What stands at that path of keys; None where anything on the way is missing."""
    value: Any = record
    try:
        for key in path:
            value = value[key]
    except (KeyError, TypeError):
        return None
    return value


def number(record: Record, *path: str) -> float | None:
    """The finite number at that path; None for anything else, which counts as not measured."""
    value = at(record, *path)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The settings by dotted name, in their order."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def images(record: Record, split: str) -> float | None:
    """How many inputs a split has: as counted while running, else as the settings limit it."""
    counted = number(record, "provenance", "images", split)
    return number(record, "config", "data", split) if counted is None else counted


def micro_batch(record: Record) -> float | None:
    """How many images batch norm saw at a time where it saw fewer than the batch, else None."""
    size = number(record, "provenance", "micro_batch") or number(record, "config", "hardware", "micro_batch")
    batch = number(record, "config", "recipe", "batch_size")
    if size is None or (batch is not None and size >= batch):
        return None
    return None if at(record, "provenance", "batch_norm") is False else size


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
