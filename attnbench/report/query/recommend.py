"""Which attention to take on a backbone within limits of cost, from the records, and how sure that is."""

from collections.abc import Iterator, Sequence

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


def recommend(words: Sequence[str], compose: Compose) -> Iterator[str]:
    """The answer to `recommend backbone=resnet20 max_latency=+5%`, paragraph by paragraph.

    `compose` makes the configuration that words ask for, to name the cells that are missing.
    """
    asked = selection.parse(words, takes=(*limits.KEYS, "difference"))
    if "backbone" not in asked.asked:
        raise UserError("recommend requires backbone=NAME; add limits such as max_latency=+5%")
    bounds = [limits.parse(key, text) for key, text in asked.rest.items() if key in limits.KEYS]
    store = read(asked, points(asked.rest.get("difference")))
    trained = [t for t in fitting(store.tables, asked) if t.metric]
    for table in trained:
        yield from _answer(table, bounds, asked, store, compose)
    if not trained:
        yield from _from_costs(asked, bounds, store, compose)


def _answer(
    table: Table,
    bounds: list[limits.Limit],
    asked: selection.Selection,
    store: Store,
    compose: Compose,
) -> Iterator[str]:
    rows = [row for row in table.rows if row.attn != CONTROL and row.done and asked.row(row)]
    judged = {row.name: _judge(_measured(row, table, store, bounds), bounds) for row in rows}
    kept = [row for row in rows if judged[row.name] != "beyond"]
    kept.sort(key=lambda row: (VERDICTS[judged[row.name]], _order(row)))
    under = ", ".join(f"{limit.kind} at most {limit.text}" for limit in bounds) or "no limit of cost"
    yield f"# {table.title}: {under}"
    excluded = {row.mechanism for row in rows} - {row.mechanism for row in kept}
    others = [name for name in _others(table, asked) if name not in excluded]
    yield _conclusion(table, kept, judged, others)
    if kept and table.metric:
        cost = Column(("limits",), "limits", lambda row: (judged[row.name],), text=True)
        columns = [NAME, WORD, cost, SEEDS, compared(table.metric), GAINED, DELTA_PARAMS, LATENCY]
        yield terminal(kept, columns if bounds else [c for c in columns if c is not cost])
    if beyond := [row.name for row in rows if judged[row.name] == "beyond"]:
        yield f"Beyond the limits: {', '.join(beyond)}."
    wanted = missing.of_table(table, lambda row: asked.row(row) and row.mechanism not in excluded)
    wanted += missing.new(others, store, asked)
    yield "\n".join(missing.missing(table, wanted, store, compose))


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


def _from_costs(
    asked: selection.Selection, bounds: list[limits.Limit], store: Store, compose: Compose
) -> Iterator[str]:
    """What cost tables alone can tell where nothing was trained, and the command that trains what fits."""
    backbone = asked.asked["backbone"][0]
    yield f"Nothing was trained on {backbone} so far, so gains are not known."
    names = asked.asked.get("attn", [])
    fitting: list[str] = []
    for table in (t for t in store.tables if not t.trains and t.backbone == backbone):
        rows = [r for r in table.rows if r.attn != CONTROL and asked.row(r) and r.done]
        judged = {r.name: _judge(r, bounds) for r in rows}
        fits = [r for r in rows if judged[r.name] in ("within", "unsure")]
        fitting += [r.mechanism for r in fits]
        unsure = sum(judged[r.name] == "unsure" for r in fits)
        unknown = sum(judged[r.name] == "not measured" for r in rows)
        yield (
            f"Costs of {table.title}: {len(fits)} of {len(rows)} rows are within the limits"
            f" ({unsure} of them not surely), {unknown} were not measured well enough:"
        )
        yield terminal(fits, [NAME, PARAMS, DELTA_PARAMS, MACS, LATENCY])
    wanted = names or list(dict.fromkeys(fitting))
    yield "\n".join(missing.unknown_table(asked, wanted, store, compose))
