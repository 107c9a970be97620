"""From records to leaderboards: a table a fingerprint, a row an (attn, site), a pair a seed."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from attnbench.mechanisms import CATEGORIES
from attnbench.records import Record
from attnbench.report.load import at, images, micro_batch, number, started
from attnbench.report.statistics.variance import Prior
from attnbench.report.tables.contents import parted
from attnbench.report.tables.effects import Effect, Rank, compare
from attnbench.report.tables.equal import compare_equal
from attnbench.report.tables.folds import averaged
from attnbench.report.tables.metrics import at_chance, costs_alone, headline, of_task, resized
from attnbench.tasks import Metric

CONTROL = "none"


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
    trained: Effect | None = None  # without the seeds that collapsed; None where none did
    equal: dict[str, Effect] = field(default_factory=dict)  # `macs`, `params` -> against its control of that
    rank: Rank | None = None
    difference: float = 0.2  # points that matter

    @property
    def name(self) -> str:
        return f"{self.attn} at {self.site}" if self.site else self.attn

    @cached_property
    def seeds(self) -> list[int]:
        """All seeds that it has a record of."""
        return [r["cell"]["seed"] for r in self.records]

    @property
    def done(self) -> list[Record]:
        return self.once("done", lambda: [r for r in self.records if r["status"] == "done"])

    @property
    def finished(self) -> "Row":
        """The row of the completed cells only."""
        return self.once("finished", lambda: replace(self, records=self.done))

    def score(self, metric: str, beside: "Row | None" = None) -> dict[int, float]:
        """Seed -> that metric on the test split, of the completed cells that may be paired with `beside`."""
        found = self.once(("score", metric), lambda: self._score(metric))
        if beside is None or not (apart := self.apart(beside)):
            return found
        return {seed: score for seed, score in found.items() if seed not in apart}

    def _score(self, metric: str) -> dict[int, float]:
        found = {r["cell"]["seed"]: number(r, "metrics", "test", metric) for r in self.done}
        return {seed: value for seed, value in found.items() if value is not None}

    @cached_property
    def collapsed(self) -> list[int]:
        """The seeds that were completed with a score nearer to chance than to the row's median."""
        metric = headline(self.records[0]["cell"]["task"])
        scores = self.score(metric.key) if metric else {}
        middle = statistics.median(scores.values()) if scores else 0.0
        floors = {r["cell"]["seed"]: at_chance(r) for r in self.done}
        return [s for s, v in scores.items() if (c := floors[s]) is not None and abs(v - c) < abs(v - middle)]

    @cached_property
    def micro_batches(self) -> dict[int, float | None]:
        """Seed -> images that batch norm saw at a time, of the completed cells; None where all of a batch."""
        return {r["cell"]["seed"]: micro_batch(r) for r in self.done}

    def apart(self, other: "Row") -> list[int]:
        """The seeds that trained in other micro-batches than the other row's, where batch norm sees them."""
        mine, theirs = self.micro_batches, other.micro_batches
        return [seed for seed, size in mine.items() if seed in theirs and size != theirs[seed]]

    @property
    def diverged(self) -> list[int]:
        """The seeds whose training diverged."""
        return [r["cell"]["seed"] for r in self.records if r["status"] == "diverged"]

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
    trains: bool = True  # false: cost-only
    variant: str = ""  # what distinguishes it from the tables of its name
    difference: float = 0.2  # points that matter, for verdicts
    prior: Prior | None = None  # of the variance of one paired difference

    @property
    def records(self) -> list[Record]:
        return self.once("records", lambda: [r for row in self.rows for r in row.records])

    @cached_property
    def resized(self) -> str:
        """HEIGHTxWIDTH, px, at which its rows were scored on purpose; empty: at the targets' own size."""
        return resized(self.records[0]) if self.records else ""

    @cached_property
    def metrics(self) -> list[Metric]:
        """Those of its task, the headline first."""
        return [metric.at(self.resized) for metric in of_task(self.task)]

    @property
    def metric(self) -> Metric | None:
        """What its rows are compared by; None where nothing is trained or the task is not known."""
        return next(iter(self.metrics), None) if self.trains else None

    @property
    def control(self) -> Row | None:
        """The row without attention."""
        return next((row for row in self.rows if row.attn == CONTROL), None)

    @cached_property
    def images(self) -> int | None:
        """How many inputs its scores are shares of; None where they are not shares or it is not known."""
        if self.metric is None or not self.metric.share:
            return None
        return next((int(n) for r in self.records if (n := images(r, "test"))), None)

    @property
    def resolution(self) -> float:
        """The least difference of two scores that its test split can show, in points."""
        return 100 / self.images if self.images else 0.0

    @property
    def floor(self) -> float:
        """The variance of a paired difference that rounding to whole images alone has."""
        return self.resolution**2 / 6

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
        return " · ".join(filter(None, (*self.about, self.variant)))


def tables(found: Iterable[Record], difference: float | None = None) -> list[Table]:
    """All leaderboards, sorted by what they are about; a cell's folds are averaged first.

    `difference` is the one that matters, in points; by default it is each metric's own.
    """
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in averaged(parted(found)):
        groups[record["table"]].append(record)
    made = [_table(fingerprint, group, difference) for fingerprint, group in groups.items()]
    return sorted(made, key=lambda t: (t.about, t.fingerprint))


def _table(fingerprint: str, group: list[Record], difference: float | None) -> Table:
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
    if table.metric:
        table.difference = max(difference or table.metric.difference, table.resolution)
    if table.control and table.metric:
        others = [row for row in rows if row is not table.control]
        table.prior = compare(others, table.control, table.metric.key, table.floor, table.difference)
        compare_equal(others, table.metric.key, table.floor, table.difference)
    return table


def _row(attn: str, site: str, found: list[Record]) -> Row:
    """The newest record of each seed."""
    newest = {r["cell"]["seed"]: r for r in sorted(found, key=_age)}
    count = Counter(r["cell"]["seed"] for r in found)
    kept = [newest[seed] for seed in sorted(newest)]
    cell = max(kept, key=_age)["cell"]
    replaced = {seed: n - 1 for seed, n in sorted(count.items()) if n > 1}
    return Row(attn, cell["mechanism"], cell["category"], site, kept, replaced)


def _age(record: Record) -> tuple:
    return started(record), record["key"]


def _place(row: Row) -> tuple:
    known = CATEGORIES.index(row.category) if row.category in CATEGORIES else len(CATEGORIES)
    return row.attn != CONTROL, known, row.category, row.attn, row.site
