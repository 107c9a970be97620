"""From records to leaderboards: a table a fingerprint, a row an (attn, site), a pair a seed."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from attnbench.mechanisms import CATEGORIES
from attnbench.records import Record
from attnbench.report.load import at, number, started
from attnbench.report.statistics.paired import effects, paired, probability, ranks, seeds_needed
from attnbench.report.tables.folds import averaged
from attnbench.report.tables.metrics import Metric, costs_alone, headline

CONTROL = "none"
DECIDED = 0.2  # points: the difference that a verdict says how many more seeds would decide


@dataclass(frozen=True)
class Effect:
    """A row's difference to the control; None where its seeds do not suffice."""

    mean: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    pairs: int
    rank: int | None  # among the rows with five pairs or more
    probability: float | None  # that one more seed's difference is above 0
    needed: int | None  # pairs that would decide a difference of `DECIDED` points


class Remembering:
    """What is asked the same by each page and worked out the first time only."""

    @cached_property
    def known(self) -> dict[Hashable, Any]:
        return {}

    def once(self, key: Hashable, work: Callable[[], Any]) -> Any:
        """What `work` returned the first time that it was asked under this key."""
        if key not in self.known:
            self.known[key] = work()
        return self.known[key]


@dataclass
class Row(Remembering):
    """One mechanism at one site: its records, one a seed, in the order of their seeds."""

    attn: str
    mechanism: str
    category: str
    site: str
    records: list[Record]
    replaced: dict[int, int] = field(default_factory=dict)  # seed -> older records that it stands for
    control: "Row | None" = None  # the table's row without attention; None for that row itself
    effect: Effect | None = None

    @property
    def name(self) -> str:
        return f"{self.attn} at {self.site}" if self.site else self.attn

    @property
    def done(self) -> list[Record]:
        return self.once("done", lambda: [r for r in self.records if r["status"] == "done"])

    @property
    def finished(self) -> "Row":
        """The row of the cells that were brought to their end alone."""
        return self.once("finished", lambda: replace(self, records=self.done))

    def score(self, metric: str) -> dict[int, float]:
        """Seed -> that metric on the test split, of the cells that were brought to their end."""
        return self.once(("score", metric), lambda: self._score(metric))

    def _score(self, metric: str) -> dict[int, float]:
        found = {r["cell"]["seed"]: number(r, "metrics", "test", metric) for r in self.done}
        return {seed: value for seed, value in found.items() if value is not None}

    def typical(self, *path: str) -> Record | None:
        """The record whose number at that path is the (lower) median; None where none has one."""
        return self.once(path, lambda: self._typical(*path))

    def _typical(self, *path: str) -> Record | None:
        known = [(value, r) for r in self.records if (value := number(r, *path)) is not None]
        middle = statistics.median_low([value for value, _ in known]) if known else None
        return next((r for value, r in known if value == middle), None)

    def middle(self, *path: str) -> float | None:
        """The (lower) median over seeds of the number at that path: always one that was measured."""
        record = self.typical(*path)
        return None if record is None else number(record, *path)

    def change(self, *path: str) -> float | None:
        """By how much that number differs from the control's; None without either."""
        mine = self.middle(*path)
        control = self.control.middle(*path) if self.control else None
        return None if mine is None or control is None else mine - control


@dataclass
class Table(Remembering):
    """One leaderboard: rows that differ in attention, site and seed alone."""

    fingerprint: str
    task: str
    data: str
    backbone: str
    recipe: str
    rows: list[Row]
    trains: bool = True  # false: costs alone
    deviation: float | None = None  # pooled, of one paired difference, in the metric's unit
    freedom: float | None = None

    @property
    def records(self) -> list[Record]:
        return self.once("records", lambda: [r for row in self.rows for r in row.records])

    @property
    def metric(self) -> Metric | None:
        """What its rows are compared by; None where nothing is trained or the task is not known."""
        return headline(self.task) if self.trains else None

    @property
    def control(self) -> Row | None:
        """The row without attention."""
        return next((row for row in self.rows if row.attn == CONTROL), None)

    @property
    def side(self) -> str:
        """An input: `224 px`, `160x320 px`, `8 frames of 112 px`, `32 frames of 30 joints`; may be empty."""
        shapes = (at(r, "cost", "input") for r in self.records)
        found = next((s for s in shapes if isinstance(s, list) and len(s) in (3, 4)), None)
        if found is None:
            return ""
        if any(at(r, "config", "data", "joints") for r in self.records):
            return f"{found[0]} frames of {found[1]} joints"
        frames = f"{found[0]} frames of " if len(found) == 4 else ""
        size = f"{found[-1]}" if found[-2] == found[-1] else f"{found[-2]}x{found[-1]}"
        return f"{frames}{size} px"

    @property
    def about(self) -> tuple[str, ...]:
        """What a person calls it: a table of costs goes by its backbone and input alone."""
        named = (self.task, self.data, self.backbone, self.recipe)
        return tuple(filter(None, named if self.trains else (self.task, "costs", self.backbone, self.side)))

    @property
    def title(self) -> str:
        return " · ".join(self.about)


def tables(found: Iterable[Record]) -> list[Table]:
    """All leaderboards, sorted by what they are about; a cell's folds are averaged first."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in averaged(found):
        groups[record["table"]].append(record)
    made = [_table(fingerprint, group) for fingerprint, group in groups.items()]
    return sorted(made, key=lambda t: (t.about, t.fingerprint))


def _table(fingerprint: str, group: list[Record]) -> Table:
    """The rows of one fingerprint, control first, then the survey's order of categories."""
    by_row: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in group:
        attn = record["cell"]["attn"]
        by_row[attn, "" if attn == CONTROL else record["cell"]["site"] or ""].append(record)
    rows = sorted((_row(*where, found) for where, found in by_row.items()), key=_place)
    cell = max(group, key=_age)["cell"]
    task, data, backbone, recipe = (cell.get(k) or "" for k in ("task", "data", "backbone", "recipe"))
    table = Table(fingerprint, task, data, backbone, recipe, rows, trains=not costs_alone(group[0]))
    for row in rows:
        row.control = None if row is table.control else table.control
    if table.control and table.metric:
        _compare(table, table.control, table.metric.key)
    return table


def _row(attn: str, site: str, found: list[Record]) -> Row:
    """The newest record of each seed."""
    newest = {r["cell"]["seed"]: r for r in sorted(found, key=_age)}
    count = Counter(r["cell"]["seed"] for r in found)
    kept = [newest[seed] for seed in sorted(newest)]
    cell = max(kept, key=_age)["cell"]
    replaced = {seed: n - 1 for seed, n in sorted(count.items()) if n > 1}
    return Row(attn, cell["mechanism"], cell["category"], site, kept, replaced)


def _compare(table: Table, control: Row, metric: str) -> None:
    """Give each row but the control its paired difference; the table gets what they were judged by."""
    rows = [row for row in table.rows if row is not control]
    scores = [row.score(metric) for row in rows]
    seeds = sorted({seed for s in (*scores, control.score(metric)) for seed in s})
    matrix = np.array([[s.get(seed, math.nan) for seed in seeds] for s in scores]).reshape(
        len(rows), len(seeds)
    )
    twin = np.array([control.score(metric).get(seed, math.nan) for seed in seeds])
    found = effects(paired(matrix, twin))
    places = ranks(found.mean, found.pairs)
    ahead = probability(found)
    needed = seeds_needed(found, DECIDED)
    for i, row in enumerate(rows):
        mean, low, high, p, p_holm, above = (
            None if math.isnan(column[i]) else float(column[i])
            for column in (found.mean, found.low, found.high, found.p, found.p_holm, ahead)
        )
        row.effect = Effect(mean, low, high, p, p_holm, int(found.pairs[i]), places[i], above, needed)
    if found.freedom:
        table.deviation, table.freedom = found.deviation, found.freedom


def _age(record: Record) -> tuple:
    return started(record), record["key"]


def _place(row: Row) -> tuple:
    known = CATEGORIES.index(row.category) if row.category in CATEGORIES else len(CATEGORIES)
    return row.attn != CONTROL, known, row.category, row.attn, row.site
