"""An index over the records of a folder: what each is called and how it ended, kept in SQLite.

The records are the truth. The index is built from them, updated by the files that are new or changed, and may
be deleted at any time; where it cannot be written, or is damaged, it is built anew, in memory if need be.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnbench import records
from attnbench.records import Record, schema
from attnbench.records.pace import Pace, of_names

FILE = ".index.sqlite"  # beside `cells/`
VERSION = 2 + 1000 * schema.VERSION
NAMES = ("task", "data", "backbone", "recipe", "attn", "mechanism", "category", "site", "seed")
COLUMNS = (
    "key",
    "stamp",
    "size",
    "problem",
    "status",
    "reason",
    *NAMES,
    "fingerprint",
    "trains",
    "started",
    "wall_s",
)
BATCH = 500  # keys of one question


@dataclass(frozen=True)
class Entry:
    """What the index knows of one record."""

    key: str
    status: str
    reason: str | None
    names: dict[str, Any]
    table: str
    started: str


class Index:
    """The index of one results folder, up to date as of when it was made."""

    def __init__(self, results: Path, most: int | None = None) -> None:
        """Read what is new or changed, of `most` files where that is given."""
        self.results = results
        self.base = _open(results)
        try:
            self._refresh(most)
        except sqlite3.Error as error:  # damaged, or on a disk that is full or does not lock
            self.base.close()
            if not isinstance(error, sqlite3.OperationalError):
                with suppress(OSError):
                    (results / FILE).unlink(missing_ok=True)
            self.base = _prepared(sqlite3.connect(":memory:"))
            self._refresh(most)

    def _refresh(self, most: int | None) -> None:
        there = dict(_files(records.folder(self.results)))
        known = {
            key: (stamp, size) for key, stamp, size in self.base.execute("select key, stamp, size from cells")
        }
        gone = [key for key in known if key not in there]
        new = [key for key, mark in there.items() if known.get(key) != mark]
        with self.base:
            self.base.executemany("delete from cells where key = ?", ((key,) for key in gone))
            marks = ", ".join("?" * len(COLUMNS))
            lines = (_line(self.results, key, *there[key]) for key in sorted(new)[:most])
            self.base.executemany(f"insert or replace into cells values ({marks})", lines)

    def ends(self) -> dict[str, int]:
        """Status -> how many records ended so."""
        return dict(self._all("select status, count(*) from cells where problem is null group by status"))

    def damaged(self) -> dict[str, str]:
        """File -> why it is not a record."""
        return {
            f"{key}.json": why
            for key, why in self._all("select key, problem from cells where problem is not null order by key")
        }

    def newest(self, statuses: Sequence[str], count: int) -> list[Entry]:
        """The records that ended so and started last, the newest last."""
        marks = ", ".join("?" * len(statuses))
        found = self._entries(f"status in ({marks}) order by started desc limit {count:d}", statuses)
        return found[::-1]

    def values(self, name: str) -> set[str]:
        """The different values of a name."""
        return {
            value
            for (value,) in self._all(f"select distinct {_column(name)} from cells where problem is null")
            if value
        }

    def tables(self) -> list[dict[str, Any]]:
        """Fingerprint, names, and whether it trains, of every table that has a record."""
        names = ("fingerprint", "task", "data", "backbone", "recipe", "trains")
        found = self._all(
            f"select distinct {', '.join(names)} from cells where problem is null order by 2, 3, 4, 5, 1"
        )
        return [dict(zip(names, line)) for line in found]

    def load(self, fingerprints: Iterable[str]) -> list[Record]:
        """The records of those tables, in the order of their keys; each is one file."""
        keys: list[str] = []
        every = list(fingerprints)
        for part in (every[i : i + BATCH] for i in range(0, len(every), BATCH)):
            marks = ", ".join("?" * len(part))
            keys += [
                key
                for (key,) in self._all(
                    f"select key from cells where problem is null and fingerprint in ({marks})", part
                )
            ]
        found = (records.find(self.results, key) for key in sorted(keys))
        return [record for record in found if record is not None]

    def with_rows(self, attns: Sequence[str]) -> set[str]:
        """Fingerprints of the tables that have a row of one of these names, with or without options."""
        marks = ", ".join("?" * len(attns))
        found = self._all(
            "select distinct fingerprint from cells where problem is null "
            f"and (attn in ({marks}) or mechanism in ({marks}))",
            [*attns, *attns],
        )
        return {fingerprint for (fingerprint,) in found}

    def one(self, attn: str) -> Record | None:
        """Any record of a mechanism with just these options."""
        found = self._all("select key from cells where problem is null and attn = ? limit 1", (attn,))
        return records.find(self.results, found[0][0]) if found else None

    def pace(self) -> Pace:
        """How long cells take, by all records that are done."""
        made = Pace()
        names = ("task", "data", "backbone", "recipe", "mechanism")
        lines = self._all(
            f"select fingerprint, wall_s, {', '.join(names)} from cells "
            "where status = 'done' and wall_s > 0 order by started, key"
        )
        for table, seconds, *values in lines:
            made.learn(of_names(dict(zip(names, values)), table), seconds)
        return made

    def mark(self) -> str:
        """A fingerprint of all files of the folder as they are now."""
        lines = self._all("select key, stamp, size from cells order by key")
        return hashlib.sha256(repr(lines).encode()).hexdigest()

    def keep(self, name: str, value: Any) -> None:
        """Keep a value of JSON's kinds under a name; lost with the index."""
        with suppress(sqlite3.Error), self.base:
            self.base.execute("insert or replace into kept values (?, ?)", (name, json.dumps(value)))

    def kept(self, name: str) -> Any:
        """The value that was kept under a name; None without one."""
        found = self._all("select value from kept where name = ?", (name,))
        return json.loads(found[0][0]) if found else None

    def close(self) -> None:
        """Release the file."""
        self.base.close()

    def _entries(self, where: str, values: Sequence[Any]) -> list[Entry]:
        columns = ("key", "status", "reason", *NAMES, "fingerprint", "started")
        lines = self._all(f"select {', '.join(columns)} from cells where problem is null and {where}", values)
        return [Entry(k, s, r, dict(zip(NAMES, rest[:-2])), *rest[-2:]) for k, s, r, *rest in lines]

    def _all(self, question: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.base.execute(question, tuple(values)).fetchall()


def _column(name: str) -> str:
    if name not in COLUMNS:
        raise LookupError(f"the index has no {name}")
    return name


def _files(folder: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Key -> when its file was written, in ns, and its size."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as found:
        for file in found:
            if file.name.endswith(".json") and not file.name.startswith("."):
                with suppress(FileNotFoundError):  # replaced at this moment
                    state = file.stat()
                    yield file.name.removesuffix(".json"), (state.st_mtime_ns, state.st_size)


def _line(results: Path, key: str, stamp: int, size: int) -> tuple[Any, ...]:
    """A record's line; of a file that is not one, its key and the reason alone."""
    try:
        record = records.parse(records.path(results, key))
        why = schema.problem(record)
    except (OSError, ValueError) as error:
        record, why = {}, str(error)
    if why:
        return (key, stamp, size, why, *(None,) * (len(COLUMNS) - 4))
    cell, origin = record["cell"], record.get("provenance") or {}
    config = record.get("config") or {}
    trains = (config.get("recipe") or {}).get("trains") is not False
    values = (
        record["status"],
        record.get("reason"),
        *(cell.get(name) or "" for name in NAMES[:-1]),
        cell["seed"],
    )
    return (
        key,
        stamp,
        size,
        None,
        *values,
        record["table"],
        trains,
        origin.get("started"),
        origin.get("wall_s"),
    )


def _open(results: Path) -> sqlite3.Connection:
    """The index's file, or one in memory where none can be written; a damaged one is deleted."""
    if any(_files(records.folder(results))) and os.access(results, os.W_OK):
        for _ in range(2):
            try:
                return _prepared(sqlite3.connect(results / FILE, timeout=30))
            except sqlite3.Error:
                with suppress(OSError):
                    (results / FILE).unlink(missing_ok=True)
    return _prepared(sqlite3.connect(":memory:"))


def _prepared(base: sqlite3.Connection) -> sqlite3.Connection:
    base.execute("pragma synchronous = off")  # what a crash takes is built anew
    (version,) = base.execute("pragma user_version").fetchone()
    if version != VERSION:
        with base:
            base.execute("drop table if exists cells")
            base.execute(f"create table cells ({', '.join(COLUMNS)}, primary key (key))")
            base.execute("create index by_table on cells (fingerprint)")
            base.execute("drop table if exists kept")
            base.execute("create table kept (name primary key, value)")
            base.execute(f"pragma user_version = {VERSION:d}")
    base.execute("select key, problem from cells limit 1").fetchone()
    return base


def opened(results: Path, most: int | None = None) -> "closing[Index]":
    """The index, to be closed at the end of a block."""
    return closing(Index(results, most))
