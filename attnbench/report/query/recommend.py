"""Which attention to take on a backbone within limits of cost, from the records, and how sure that is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from attnbench.errors import UserError
from attnbench.report.files import points
from attnbench.report.pages.leaderboard import terminal
from attnbench.report.query import limits, missing, selection
from attnbench.report.query.commands import Compose
from attnbench.report.query.rivals import rivals
from attnbench.report.query.store import Store, fitting, read
from attnbench.report.tables import verdicts
from attnbench.report.tables.columns import (
    DELTA_PARAMS,
    GAINED,
    LATENCY,
    MACS,
    NAME,
    PARAMS,
    SEEDS,
    WORD,
    Column,
    compared,
    delta,
)
from attnbench.report.tables.table import CONTROL, Row, Table

VERDICTS = {"within": 0, "unsure": 1, "not measured": 2, "beyond": 3}  # from best to worst
JUDGED = ("helps", "hurts", "unclear")
ENOUGH = 0.5  # share of the candidates that must be judged before none is advised


@dataclass(frozen=True)
class Answer:
    """One table's answer: its rows within the limits, best first, and what the limits say of each row."""

    table: Table
    kept: list[Row]
    judged: dict[str, str]  # of every row, by name
    others: list[str]  # mechanisms without a row

    @property
    def beyond(self) -> list[str]:
        """Names of the rows that cost too much."""
        return [name for name, verdict in self.judged.items() if verdict == "beyond"]

    @property
    def limits(self) -> Column:
        """What the limits say of a row."""
        return Column(("limits",), "limits", lambda row: (self.judged[row.name],), text=True)

    @property
    def advice(self) -> str:
        """What to take, and how sure that is."""
        return _conclusion(self.table, self.kept, self.judged, self.others)


@dataclass(frozen=True)
class Question:
    """What `recommend` is asked, and the records that answer."""

    asked: selection.Selection
    bounds: list[limits.Limit]
    store: Store

    @classmethod
    def read(cls, words: Sequence[str]) -> "Question":
        """The question that the words make; raises `UserError` where they name no backbone."""
        asked = selection.parse(words, takes=(*limits.KEYS, "difference"))
        if "backbone" not in asked.asked:
            raise UserError("recommend requires backbone=NAME; add limits such as max_latency=+5%")
        bounds = [limits.parse(key, text) for key, text in asked.rest.items() if key in limits.KEYS]
        return cls(asked, bounds, read(asked, points(asked.rest.get("difference"))))

    def answers(self) -> list[Answer]:
        """One for each table of trained cells."""
        return [self._answer(t) for t in fitting(self.store.tables, self.asked) if t.metric]

    def _answer(self, table: Table) -> Answer:
        rows = [row for row in table.rows if row.attn != CONTROL and row.done and self.asked.row(row)]
        judged = {
            row.name: _judge(_measured(row, table, self.store, self.bounds), self.bounds) for row in rows
        }
        kept = [row for row in rows if judged[row.name] != "beyond"]
        kept.sort(key=lambda row: (VERDICTS[judged[row.name]], _order(row)))
        excluded = {row.mechanism for row in rows} - {row.mechanism for row in kept}
        others = [name for name in _others(table, self.asked) if name not in excluded]
        return Answer(table, kept, judged, others)

    def costs(self) -> list[Answer]:
        """One for each cost-only table of the backbone."""
        backbone = self.asked.asked["backbone"][0]
        alone = (t for t in self.store.tables if not t.trains and t.backbone == backbone)
        return [self._costs(table) for table in alone]

    def _costs(self, table: Table) -> Answer:
        rows = [r for r in table.rows if r.attn != CONTROL and self.asked.row(r) and r.done]
        judged = {r.name: _judge(r, self.bounds) for r in rows}
        return Answer(table, [r for r in rows if judged[r.name] in ("within", "unsure")], judged, [])


def recommend(words: Sequence[str], compose: Compose) -> Iterator[str]:
    """The answer to `recommend backbone=resnet20 max_latency=+5%`, paragraph by paragraph.

    `compose` makes the configuration that words ask for, to name the cells that are missing.
    """
    question = Question.read(words)
    found = question.answers()
    for answer in found:
        yield from _paragraphs(answer, question, compose)
    if not found:
        yield from _from_costs(question, compose)


def _paragraphs(answer: Answer, question: Question, compose: Compose) -> Iterator[str]:
    table, asked, bounds = answer.table, question.asked, question.bounds
    under = ", ".join(f"{limit.kind} at most {limit.text}" for limit in bounds) or "no limit of cost"
    yield f"# {table.title}: {under}"
    yield answer.advice
    if answer.kept and table.metric:
        cost = [answer.limits] if bounds else []
        columns = [NAME, WORD, *cost, SEEDS, compared(table.metric), GAINED, DELTA_PARAMS, LATENCY]
        yield terminal(answer.kept, columns)
    if answer.beyond:
        yield f"Beyond the limits: {', '.join(answer.beyond)}."
    within = {row.mechanism for row in answer.kept}
    excluded = {row.mechanism for row in table.rows if row.name in answer.judged} - within
    wanted = missing.of_table(table, lambda row: asked.row(row) and row.mechanism not in excluded)
    wanted += missing.new(answer.others, question.store, asked)
    yield "\n".join(missing.missing(table, wanted, question.store, compose))


def _judge(row: Row, bounds: list[limits.Limit]) -> str:
    """The worst of what the limits say of a row."""
    return max((limit.judge(row) for limit in bounds), key=VERDICTS.__getitem__, default="within")


def _measured(row: Row, table: Table, store: Store, bounds: list[limits.Limit]) -> Row:
    """The row itself or, where a limited cost was not measured with it, its row in a cost-only table."""
    if all(limit.judge(row) != "not measured" for limit in bounds):
        return row
    alone = [t for t in store.tables if not t.trains and t.backbone == table.backbone]
    same = [r for t in alone for r in t.rows if (r.attn, r.site) == (row.attn, row.site)]
    return next((r for r in same if all(x.judge(r) != "not measured" for x in bounds)), row)


def _order(row: Row) -> tuple:
    effect = row.effect
    if effect is None or effect.mean is None:
        return 3, 0.0, row.name
    return {"helps": 0, "hurts": 2, "unstable": 2}.get(verdicts.word(row) or "", 1), -effect.mean, row.name


def _conclusion(table: Table, kept: list[Row], judged: dict[str, str], others: list[str]) -> str:
    """The row with the largest significant gain, and how sure that is; else that there is none."""
    good = [row for row in kept if verdicts.word(row) == "helps"]
    sure = [row for row in good if judged[row.name] == "within"]
    for row in (sure or good)[:1]:
        return _taken(table, row, kept, judged[row.name])
    firm = sum(verdicts.word(row) in JUDGED for row in kept)
    candidates = len(kept) + len(others)
    counted = (
        f"{firm} of {candidates} candidates within the limits {'has' if firm == 1 else 'have'} enough seeds"
    )
    if firm >= ENOUGH * candidates and firm:
        return f"Stay with none: {counted} to be judged, and none of them is a significant gain."
    return f"No advice yet: {counted} to be judged, and none of those is a significant gain."


def _taken(table: Table, row: Row, kept: list[Row], cost: str) -> str:
    """The advice, its interval, what cannot be distinguished from it, and how sure its cost is."""
    effect = row.effect
    gain = delta(effect.mean, effect.low, effect.high) if effect and effect.mean is not None else ""
    known = "" if cost == "within" else f" Its cost is {cost}."
    like = [other.name for other in rivals(row, kept, table)]
    same = f" Not distinguishable from it: {', '.join(like)}." if like else ""
    return f"Take {row.name}: significant gain, {gain} pp (gained with {GAINED.cell(row)}).{known}{same}"


def _others(table: Table, asked: selection.Selection) -> list[str]:
    """The mechanisms that could have a row here and have none, of those that were asked for."""
    others = missing.not_run(table)
    named = asked.asked.get("attn")
    if named is None:
        return others
    there = {row.attn for row in table.rows}
    return [name for name in named if name in others or ("(" in name and name not in there)]


def _from_costs(question: Question, compose: Compose) -> Iterator[str]:
    """What cost tables alone can tell where nothing was trained, and the command that trains what fits."""
    asked = question.asked
    yield f"Nothing was trained on {asked.asked['backbone'][0]} so far, so gains are not known."
    fitting: list[str] = []
    for answer in question.costs():
        fits, judged = answer.kept, list(answer.judged.values())
        fitting += [r.mechanism for r in fits]
        yield (
            f"Costs of {answer.table.title}: {len(fits)} of {len(judged)} rows are within the limits"
            f" ({judged.count('unsure')} of them not surely), {judged.count('not measured')} were not "
            "measured well enough:"
        )
        yield terminal(fits, [NAME, PARAMS, DELTA_PARAMS, MACS, LATENCY])
    wanted = asked.asked.get("attn") or list(dict.fromkeys(fitting))
    yield "\n".join(missing.unknown_table(asked, wanted, question.store, compose))
