"""Which cells a question would need that no record answers yet, and how long they would take."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from attnbench import mechanisms
from attnbench.records import Record
from attnbench.report import conditions
from attnbench.report.folds import FOLD
from attnbench.report.load import at, number
from attnbench.report.rows import CONTROL, Row, Table
from attnbench.report.selection import OF_TABLE
from attnbench.report.statistics import RANKED_FROM

FOLDS = ".".join(FOLD[1:])  # as the command line has it
SEEDS = tuple(range(RANKED_FROM))
OF_CLIPS = ("temporal", "spatial_temporal")  # categories that need frames
PLACES = (("config", "backbone", "sites"), ("config", "task", "sites"))  # in a record
WITH_FRAMES = ("clip", "skeleton", "retrieval")

LIKE: list[tuple[str, tuple[str, ...]]] = [  # what must agree for a cell to take about as long, best first
    ("the same mechanism here", ("task", "data", "backbone", "recipe", "mechanism")),
    ("the same table", ("task", "data", "backbone", "recipe")),
    ("the same backbone and recipe on other data", ("task", "backbone", "recipe")),
]


def seconds(found: Sequence[Record], cell: dict[str, str]) -> tuple[float, str] | None:
    """Median wall time of the cells most like one, and how like they are; None where there is none."""
    for name, keys in LIKE:
        alike = [r for r in found if r["status"] == "done" and _agree(r["cell"], cell, keys)]
        times = [t for r in alike if (t := number(r, "provenance", "wall_s")) is not None]
        if times:
            return statistics.median(times), f"median of {len(times)} done with {name}"
    return None


def _agree(one: dict[str, str], other: dict[str, str], keys: tuple[str, ...]) -> bool:
    return all((one.get(key) or "") == (other.get(key) or "") for key in keys)


def seeds_of(row: Row | None) -> list[int]:
    """The seeds that a row lacks to be judged."""
    done = {r["cell"]["seed"] for r in row.done} if row else set()
    return [seed for seed in SEEDS if seed not in done] if len(done) < RANKED_FROM else []


def not_run(table: Table) -> list[str]:
    """The mechanisms that the table has no row of, and that its task and its network have a place for."""
    there = {row.mechanism for row in table.rows}
    frames = table.task in WITH_FRAMES
    sites = {site for part in PLACES for r in table.records for site in at(r, *part) or ()}
    return [
        entry.name
        for entry in mechanisms.entries().values()
        if entry.name not in there
        and (frames or entry.category not in OF_CLIPS)
        and (not sites or sites & set(entry.sites))
    ]


def where(table: Table, every: Sequence[Table]) -> dict[str, str]:
    """The words of a command whose cells would stand in this table: its names, and what sets it apart."""
    names = {key: getattr(table, key) for key in OF_TABLE}
    twins = [t for t in every if t is not table and t.title == table.title]
    folds = next((f for r in table.records if isinstance(f := at(r, *FOLD), list)), None)
    settings = conditions.apart(table, twins) | ({FOLDS: folds} if folds else {})
    return names | {key: _word(value) for key, value in settings.items()}


def _word(value: Any) -> str:
    """A setting's value as the command line takes it; several folds as an axis."""
    if isinstance(value, list):
        return ",".join(map(_word, value))
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def plan(where: dict[str, str], wanted: dict[str, list[int]], found: Sequence[Record]) -> list[str]:
    """What to run for mechanism -> seeds, how long it takes, and the command; empty where nothing lacks."""
    cells = [(name, seed) for name, seeds in wanted.items() for seed in seeds]
    if not cells:
        return []
    each = [seconds(found, {**where, "mechanism": name}) for name, _ in cells]
    known = [estimate for estimate in each if estimate]
    total = sum(time for time, _ in known)
    bases = "; ".join(dict.fromkeys(basis for _, basis in known))
    folds = len(where[FOLDS].split(",")) if FOLDS in where else 1
    took = f"about {duration(total)} one after another ({bases})" if known else UNKNOWN
    if known and len(known) < len(cells):
        took += f"; {len(cells) - len(known)} of them without a like cell"
    return [f"{len(cells) * folds} cells are missing: {took}", *_commands(where, wanted)]


UNKNOWN = "how long they take is not known, for no like cell was run"


def _commands(where: dict[str, str], wanted: dict[str, list[int]]) -> list[str]:
    """One command for all mechanisms that lack the same seeds."""
    by_seeds: dict[tuple[int, ...], list[str]] = {}
    for name, seeds in wanted.items():
        if seeds:
            by_seeds.setdefault(tuple(seeds), []).append(name)
    keys = " ".join(f"{key}={value}" for key, value in where.items() if value)
    return [
        f"  python -m attnbench -m {keys} attn={','.join(attns)} seed={','.join(map(str, seeds))}"
        for seeds, attns in by_seeds.items()
    ]


def of_table(table: Table, chosen: Callable[[Row], bool], others: Sequence[str]) -> dict[str, list[int]]:
    """Mechanism -> seeds that the chosen rows, their control and `others` lack to be judged."""
    wanted = {CONTROL: seeds_of(table.control)}
    for row in table.rows:
        if row.attn != CONTROL and chosen(row):
            wanted[row.mechanism] = seeds_of(row)
    wanted |= {name: list(SEEDS) for name in others}
    return {name: seeds for name, seeds in wanted.items() if seeds}


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`, `2.5 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 48 * 60 else f"{minutes / 1440:.1f} days"
