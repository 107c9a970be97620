"""Folds of a data set: cells that differ in nothing but their fold stand in a table as one, their mean."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from attnbench.cell import fingerprint
from attnbench.records import Record
from attnbench.report.load import VARIES, at, number, started

FOLD = ("config", "data", "options", "fold")
SPLITS = ("train", "val", "test")
MEMBERS = "members"  # of a mean: pairs of a fold and the table that its cells have by themselves
NOT_SHARED = {"backbone": ("sites",), "task": ("sites",), "data": ("root", "download")}


def averaged(found: Iterable[Record]) -> list[Record]:
    """The records, with one in the place of those of all folds of a cell.

    Its metrics are means over the folds, its wall time is their sum; the rest is the newest fold's. A cell
    without a fold that others of its table have is not done, and names the fold.
    """
    alone, tables = [], defaultdict(list)
    for record in found:
        if not isinstance(at(record, *FOLD), int | str):
            alone.append(record)
        else:
            tables[_shared(record)].append(record)
    return alone + [one for table, group in tables.items() for one in _averaged(table, group)]


def _averaged(table: str, group: list[Record]) -> list[Record]:
    """The records of one table; as they are where there is one fold, or where a fold has several tables."""
    folds = sorted({at(r, *FOLD) for r in group}, key=str)
    if len(folds) == 1 or len({(at(r, *FOLD), r["table"]) for r in group}) > len(folds):
        return group
    cells: dict[tuple, dict[Any, Record]] = defaultdict(dict)
    for record in sorted(group, key=started):
        cell = record["cell"]
        cells[cell["attn"], cell["site"], cell["seed"], record["digest"]][at(record, *FOLD)] = record
    return [_mean(table, folds, by_fold) for by_fold in cells.values()]


def _mean(table: str, folds: list[Any], by_fold: dict[Any, Record]) -> Record:
    newest = max(by_fold.values(), key=started)
    status, reason = _end(folds, by_fold)
    data = newest["config"]["data"]
    options = {**data["options"], FOLD[-1]: folds}
    checksums = sorted({str(at(r, "provenance", "data_checksum")) for r in by_fold.values()})
    return {
        **newest,
        "table": table,
        MEMBERS: [(fold, by_fold[fold]["table"]) for fold in folds if fold in by_fold],
        "status": status,
        "reason": reason,
        "config": {**newest["config"], "data": {**data, "options": options}},
        "metrics": {split: _means(split, by_fold) for split in newest.get("metrics") or {}},
        "provenance": {
            **(newest.get("provenance") or {}),
            "wall_s": _combined(sum, by_fold, "provenance", "wall_s"),
            "images": {s: _combined(sum, by_fold, "provenance", "images", s) for s in SPLITS},
            "data_checksum": " ".join(checksums),
        },
    }


def _end(folds: list[Any], by_fold: dict[Any, Record]) -> tuple[str, str | None]:
    """How the cell ended, and why: done where every fold is."""
    for fold in folds:
        record = by_fold.get(fold)
        if record is None:
            return "skipped", f"fold {fold} was not run"
        if record["status"] != "done":
            return record["status"], f"fold {fold}: {record.get('reason') or 'no reason was recorded'}"
    return "done", None


def _means(split: str, by_fold: dict[Any, Record]) -> dict[str, float | None]:
    """Each metric's mean over the folds; None where a fold has none."""
    names = dict.fromkeys(name for r in by_fold.values() for name in at(r, "metrics", split) or {})
    return {name: _combined(statistics.fmean, by_fold, "metrics", split, name) for name in names}


def _combined(how: Callable[[list[float]], float], by_fold: dict[Any, Record], *path: str) -> float | None:
    """The folds' numbers at that path as one; None where a fold has none."""
    found = [value for r in by_fold.values() if (value := number(r, *path)) is not None]
    return how(found) if len(found) == len(by_fold) else None


def _shared(record: Record) -> str:
    """Fingerprint of what the cells of its table share whatever their fold."""
    config = {k: v for k, v in record["config"].items() if k not in (*VARIES, "cost")}
    for part, keys in NOT_SHARED.items():
        config[part] = {k: v for k, v in (config.get(part) or {}).items() if k not in keys}
    options = {k: v for k, v in (config["data"].get("options") or {}).items() if k != FOLD[-1]}
    config["data"] = {**config["data"], "options": options}
    return fingerprint(config)
