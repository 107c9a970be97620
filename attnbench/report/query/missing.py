"""Which cells a question would need that no record answers yet, and how long they would take."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

from attnbench import mechanisms, tasks
from attnbench.errors import UserError
from attnbench.records import Record
from attnbench.records.pace import Pace, many, of_names, span
from attnbench.report.load import at
from attnbench.report.query import commands, words
from attnbench.report.query.commands import Command, Compose
from attnbench.report.query.selection import OF_TABLE, Selection
from attnbench.report.query.store import Store
from attnbench.report.statistics.paired import RANKED_FROM
from attnbench.report.tables.table import CONTROL, Row, Table

SEEDS = tuple(range(RANKED_FROM))
OF_CLIPS = ("temporal", "spatial_temporal")  # categories that need frames
PLACES = (("config", "backbone", "sites"), ("config", "task", "sites"))  # in a record


def seeds_of(row: Row | None) -> tuple[int, ...]:
    """The seeds that are missing for a verdict on a row."""
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
    """A row with missing cells: a mechanism with its options, where it stands, and the seeds."""

    mechanism: str
    seeds: tuple[int, ...]
    options: tuple[str, ...] = ()  # as words
    site: str = ""  # empty: where its paper puts it

    @property
    def words(self) -> tuple[str, ...]:
        """What no other row's cells share."""
        return (*self.options, f"site={self.site}") if self.site else self.options


def plan(command: Command, wanted: Sequence[Wanted], pace: Pace) -> list[str]:
    """What to run, how long it takes, and the commands; empty where nothing is missing."""
    reasons = [(each, command.impossible(each.mechanism, each.site)) for each in wanted]
    refused = [f"{each.mechanism} cannot be run: {reason}" for each, reason in reasons if reason]
    possible = [each for each, reason in reasons if not reason and each.seeds]
    if not possible:
        return refused
    kinds = [of_names({**command.cell, "mechanism": w.mechanism}, command.table) for w in possible]
    cells = Counter({kind: len(w.seeds) * command.folds for kind, w in zip(kinds, possible)})
    count = sum(cells.values())
    total, unknown = pace.total(cells)
    bases = "; ".join(dict.fromkeys(filter(None, map(pace.basis, kinds))))
    took = f"about {span(total)} one after another ({bases})" if unknown < count else UNKNOWN
    if 0 < unknown < count:
        took += f"; {unknown} of them without a comparable cell"
    remark = [f"{command.remark}."] if command.remark else []
    return [
        f"{many(count)} {'is' if count == 1 else 'are'} missing: {took}",
        *remark,
        *_lines(command, possible),
        *refused,
    ]


UNKNOWN = "duration unknown (no comparable cell has run)"


def _lines(command: Command, wanted: Sequence[Wanted]) -> list[str]:
    """One command for all mechanisms without the same seeds at one site, one for each that has options."""
    groups: dict[Hashable, list[Wanted]] = {}
    for each in wanted:
        alone = each.mechanism if each.options else ""
        groups.setdefault((alone, each.seeds, each.words), []).append(each)
    together = list(groups.values())
    if together[0][0].mechanism == CONTROL and len(together[0]) == 1:
        _join_control(together)
    return [command.line([w.mechanism for w in g], g[-1].words, g[-1].seeds) for g in together]


def _join_control(groups: list[list[Wanted]]) -> None:
    """Put the control, the same at every site, among mechanisms without its seeds, if there are any."""
    control = groups[0][0]
    for group in groups[1:]:
        if group[0].seeds == control.seeds and not group[0].options:
            group.insert(0, control)
            del groups[0]
            return


def of_table(table: Table, chosen: Callable[[Row], bool]) -> list[Wanted]:
    """What is missing for verdicts on the chosen rows and their control, the control first."""
    rows = [row for row in table.rows if row.attn != CONTROL and row.mechanism in mechanisms.entries()]
    made = [of_row(row, seeds_of(row)) for row in rows if chosen(row)]
    return [each for each in (Wanted(CONTROL, seeds_of(table.control)), *made) if each.seeds]


def of_row(row: Row, seeds: tuple[int, ...]) -> Wanted:
    """Those seeds of a row, with its options and its site."""
    attn = next((a for r in row.records if isinstance(a := at(r, "config", "attn"), dict)), {})
    return Wanted(
        row.mechanism, seeds, words.options(attn, mechanisms.entry(row.mechanism).options), row.site
    )


def _as_run(record: Record) -> Wanted:
    """All seeds of the row that a record is of."""
    cell = record["cell"]
    words_of = words.options(at(record, "config", "attn") or {}, mechanisms.entry(cell["mechanism"]).options)
    return Wanted(cell["mechanism"], SEEDS, words_of, cell["site"] or "")


def new(names: Iterable[str], store: Store, asked: Selection) -> list[Wanted]:
    """Mechanisms that a table has no row of, by name or as a row of another table is called."""
    sites = asked.asked.get("site", [])
    found = []
    for name in names:
        made = _as_run(store.examples[name]) if name in store.examples else Wanted(name, SEEDS)
        found.append(replace(made, site=sites[0] if len(sites) == 1 and name != CONTROL else ""))
    return found


def missing(table: Table, wanted: Sequence[Wanted], store: Store, compose: Compose) -> list[str]:
    """The plan of cells that would stand in a table."""
    if not wanted:
        return []
    return plan(commands.of_table(table, store.results, compose), wanted, store.pace)


def unknown_table(asked: Selection, names: Iterable[str], store: Store, compose: Compose) -> list[str]:
    """The plan of cells where no table is what was asked for."""
    where = {key: values[0] for key, values in asked.asked.items() if key in OF_TABLE}
    try:
        command = commands.of_names(where, asked.results, compose)
    except UserError as reason:
        return [f"No cell of that kind can be run: {reason}"]
    wanted = list(names) or possible(command)
    if CONTROL not in wanted:
        wanted.insert(0, CONTROL)
    return plan(command, new(wanted, store, asked), store.pace)


def possible(command: commands.Command) -> list[str]:
    """All mechanisms that have a place in the network of a command, as far as names can tell."""
    return [name for name in mechanisms.entries() if not command.impossible(name, "")]
