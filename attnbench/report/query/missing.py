"""Which cells a question would need that no record answers yet, and how long they would take."""

import statistics
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

from attnbench import mechanisms, tasks
from attnbench.errors import UserError
from attnbench.records import Record
from attnbench.report.load import at, number
from attnbench.report.query import commands, settings
from attnbench.report.query.commands import Command, Compose
from attnbench.report.query.selection import OF_TABLE, Selection
from attnbench.report.statistics.paired import RANKED_FROM
from attnbench.report.tables.table import CONTROL, Row, Table

SEEDS = tuple(range(RANKED_FROM))
OF_CLIPS = ("temporal", "spatial_temporal")  # categories that need frames
PLACES = (("config", "backbone", "sites"), ("config", "task", "sites"))  # in a record

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


def seeds_of(row: Row | None) -> tuple[int, ...]:
    """The seeds that a row lacks to be judged."""
    done = {r["cell"]["seed"] for r in row.done} if row else set()
    return tuple(seed for seed in SEEDS if seed not in done) if len(done) < RANKED_FROM else ()


def not_run(table: Table) -> list[str]:
    """The mechanisms that the table has no row of, and that its task and its network have a place for."""
    there = {row.mechanism for row in table.rows}
    card = tasks.cards().get(table.task)
    frames = card is not None and card.frames
    sites = {site for part in PLACES for r in table.records for site in at(r, *part) or ()}
    return [
        entry.name
        for entry in mechanisms.entries().values()
        if entry.name not in there
        and (frames or entry.category not in OF_CLIPS)
        and (not sites or sites & set(entry.sites))
    ]


@dataclass(frozen=True)
class Wanted:
    """A row that lacks cells: a mechanism with its options, where it stands, and the seeds."""

    mechanism: str
    seeds: tuple[int, ...]
    options: tuple[str, ...] = ()  # as words
    site: str = ""  # empty: where its paper puts it

    @property
    def words(self) -> tuple[str, ...]:
        """What no other row's cells share."""
        return (*self.options, f"site={self.site}") if self.site else self.options


def plan(command: Command, wanted: Sequence[Wanted], found: Sequence[Record]) -> list[str]:
    """What to run, how long it takes, and the commands; empty where nothing lacks."""
    reasons = [(each, command.impossible(each.mechanism, each.site)) for each in wanted]
    refused = [f"{each.mechanism} cannot be run: {reason}" for each, reason in reasons if reason]
    possible = [each for each, reason in reasons if not reason and each.seeds]
    if not possible:
        return refused
    times = [seconds(found, {**command.cell, "mechanism": w.mechanism}) for w in possible for _ in w.seeds]
    known = [estimate for estimate in times if estimate]
    total = sum(time for time, _ in known)
    bases = "; ".join(dict.fromkeys(basis for _, basis in known))
    took = f"about {duration(total)} one after another ({bases})" if known else UNKNOWN
    if known and len(known) < len(times):
        took += f"; {len(times) - len(known)} of them without a like cell"
    remark = [f"{command.remark}."] if command.remark else []
    return [
        f"{len(times) * command.folds} cells are missing: {took}",
        *remark,
        *_lines(command, possible),
        *refused,
    ]


UNKNOWN = "how long they take is not known, for no like cell was run"


def _lines(command: Command, wanted: Sequence[Wanted]) -> list[str]:
    """One command for all mechanisms that lack the same seeds at one site, one for each that has options."""
    groups: dict[Hashable, list[Wanted]] = {}
    for each in wanted:
        alone = each.mechanism if each.options else ""
        groups.setdefault((alone, each.seeds, each.words), []).append(each)
    together = list(groups.values())
    if together[0][0].mechanism == CONTROL and len(together[0]) == 1:
        _join_control(together)
    return [command.line([w.mechanism for w in g], g[-1].words, g[-1].seeds) for g in together]


def _join_control(groups: list[list[Wanted]]) -> None:
    """Put the control, the same at every site, among mechanisms that lack its seeds, if there are any."""
    control = groups[0][0]
    for group in groups[1:]:
        if group[0].seeds == control.seeds and not group[0].options:
            group.insert(0, control)
            del groups[0]
            return


def of_table(table: Table, chosen: Callable[[Row], bool]) -> list[Wanted]:
    """What the chosen rows and their control lack to be judged, the control first."""
    rows = [row for row in table.rows if row.attn != CONTROL and row.mechanism in mechanisms.entries()]
    made = [of_row(row, seeds_of(row)) for row in rows if chosen(row)]
    return [each for each in (Wanted(CONTROL, seeds_of(table.control)), *made) if each.seeds]


def of_row(row: Row, seeds: tuple[int, ...]) -> Wanted:
    """Those seeds of a row, with its options and its site."""
    attn = next((a for r in row.records if isinstance(a := at(r, "config", "attn"), dict)), {})
    words = settings.options(attn, mechanisms.entry(row.mechanism).options)
    return Wanted(row.mechanism, seeds, words, row.site)


def new(names: Iterable[str], every: Sequence[Table], asked: Selection) -> list[Wanted]:
    """Mechanisms that a table has no row of, by name or as a row of another table is called."""
    rows = {row.attn: row for table in every for row in table.rows}
    sites = asked.asked.get("site", [])
    found = []
    for name in names:
        made = of_row(rows[name], SEEDS) if "(" in name else Wanted(name, SEEDS)
        found.append(replace(made, site=sites[0] if len(sites) == 1 and name != CONTROL else ""))
    return found


def missing(table: Table, wanted: Sequence[Wanted], asked: Selection, compose: Compose) -> list[str]:
    """The plan of cells that would stand in a table."""
    if not wanted:
        return []
    return plan(commands.of_table(table, asked.results, compose), wanted, table.records)


def unknown_table(
    asked: Selection, names: Iterable[str], every: Sequence[Table], compose: Compose
) -> list[str]:
    """The plan of cells where no table is what was asked for."""
    where = {key: values[0] for key, values in asked.asked.items() if key in OF_TABLE}
    try:
        command = commands.of_names(where, asked.results, compose)
    except UserError as reason:
        return [f"No cell of that kind can be run: {reason}"]
    wanted = list(names) or possible(command)
    if CONTROL not in wanted:
        wanted.insert(0, CONTROL)
    return plan(command, new(wanted, every, asked), [r for t in every for r in t.records])


def possible(command: commands.Command) -> list[str]:
    """All mechanisms that have a place in the network of a command, as far as names can tell."""
    return [name for name in mechanisms.entries() if not command.impossible(name, "")]


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`, `2.5 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 48 * 60 else f"{minutes / 1440:.1f} days"
