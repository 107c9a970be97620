"""Which attention to take on a backbone within limits of cost: an answer from the records, or what lacks."""

from collections.abc import Iterator, Sequence

from attnbench.errors import UserError
from attnbench.report.pages.leaderboard import terminal
from attnbench.report.query import limits, missing, selection
from attnbench.report.query.commands import Compose
from attnbench.report.tables import verdicts
from attnbench.report.tables.columns import COST, HOLM, SEEDS, VERDICT, WHO, Column, compared, delta
from attnbench.report.tables.table import CONTROL, Row, Table

VERDICTS = {"within": 0, "unsure": 1, "not measured": 2, "beyond": 3}  # from best to worst


def recommend(words: Sequence[str], compose: Compose) -> Iterator[str]:
    """The answer to `recommend backbone=resnet20 max_latency=+5%`, paragraph by paragraph.

    `compose` makes the configuration that words ask for, to name the cells that are missing.
    """
    asked = selection.parse(words, takes=limits.KEYS)
    if "backbone" not in asked.asked:
        raise UserError("recommend for which backbone? add backbone=NAME, and limits such as max_latency=+5%")
    bounds = [limits.parse(key, text) for key, text in asked.rest.items()]
    every = selection.read(asked)
    trained = [t for t in every if t.metric and asked.table(t)]
    for table in trained:
        yield from _answer(table, bounds, asked, every, compose)
    if not trained:
        yield from _unanswered(asked, bounds, every, compose)


def _answer(
    table: Table,
    bounds: list[limits.Limit],
    asked: selection.Selection,
    every: list[Table],
    compose: Compose,
) -> Iterator[str]:
    rows = [row for row in table.rows if row.attn != CONTROL and row.done and asked.row(row)]
    judged = {row.name: _judge(_measured(row, table, every, bounds), bounds) for row in rows}
    kept = [row for row in rows if judged[row.name] != "beyond"]
    kept.sort(key=lambda row: (VERDICTS[judged[row.name]], _order(row)))
    under = ", ".join(f"{limit.kind} at most {limit.text}" for limit in bounds) or "no limit of cost"
    yield f"# {table.title}: {under}"
    yield _conclusion(kept, judged)
    if kept and table.metric:
        cost = Column(("limits",), "limits", lambda row: (judged[row.name],), text=True)
        told = [*WHO[1:], cost, SEEDS, compared(table.metric), HOLM, *VERDICT, COST[1], COST[5]]
        yield terminal(kept, told if bounds else [c for c in told if c is not cost])
    if beyond := [row.name for row in rows if judged[row.name] == "beyond"]:
        yield f"Beyond the limits: {', '.join(beyond)}."
    excluded = {row.mechanism for row in rows} - {row.mechanism for row in kept}
    yield "\n".join(_missing(table, asked, excluded, every, compose))


def _judge(row: Row, bounds: list[limits.Limit]) -> str:
    """The worst of what the limits say of a row."""
    return max((limit.judge(row) for limit in bounds), key=VERDICTS.__getitem__, default="within")


def _measured(row: Row, table: Table, every: list[Table], bounds: list[limits.Limit]) -> Row:
    """The row itself, or, where a limited cost was not measured with it, its twin among costs alone."""
    if all(limit.judge(row) != "not measured" for limit in bounds):
        return row
    alone = [t for t in every if not t.trains and t.backbone == table.backbone]
    twins = [r for t in alone for r in t.rows if (r.attn, r.site) == (row.attn, row.site)]
    return next((r for r in twins if all(x.judge(r) != "not measured" for x in bounds)), row)


def _order(row: Row) -> tuple:
    effect = row.effect
    if effect is None or effect.mean is None:
        return 3, 0.0, row.name
    return {"helps": 0, "hurts": 2}.get(verdicts.outcome(effect), 1), -effect.mean, row.name


def _conclusion(kept: list[Row], judged: dict[str, str]) -> str:
    """Those that are shown to help, the largest gain first; else that none is."""
    good = [row for row in kept if row.effect and verdicts.outcome(row.effect) == "helps"]
    sure = [row for row in good if judged[row.name] == "within"]
    for row in (sure or good)[:1]:
        assured = "" if sure else f", though its cost is {judged[row.name]}"
        effect = row.effect
        if effect and effect.mean is not None:
            gain = delta(effect.mean, effect.low, effect.high)
            return f"Take {row.name}: shown to help, {gain} points{assured}."
    few = sum(bool(row.effect) and verdicts.outcome(row.effect) == "exploratory" for row in kept)  # type: ignore[arg-type]
    so_far = f"; {few} of {len(kept)} rows have too few seeds to be judged" if few else ""
    return f"Nothing within the limits is shown to help: stay with none{so_far}."


def _missing(
    table: Table, asked: selection.Selection, beyond: set[str], every: list[Table], compose: Compose
) -> list[str]:
    """The cells by which more rows could be judged, those beyond the limits left out."""
    named = asked.asked.get("attn")
    others = missing.not_run(table)
    if named is not None:
        there = {row.attn for row in table.rows}
        others = [name for name in named if name in others or ("(" in name and name not in there)]
    wanted = missing.of_table(table, lambda row: asked.row(row) and row.mechanism not in beyond)
    return missing.missing(table, [*wanted, *missing.new(others, every, asked)], asked, compose)


def _unanswered(
    asked: selection.Selection, bounds: list[limits.Limit], every: list[Table], compose: Compose
) -> Iterator[str]:
    """What costs alone can tell where nothing was trained, and what to train."""
    backbone = asked.asked["backbone"][0]
    yield f"Nothing that was trained on {backbone} answers this, so no gain is known."
    names = asked.asked.get("attn", [])
    costs = [t for t in every if not t.trains and t.backbone == backbone]
    if not costs:
        measure = f"`python -m attnbench sweep experiment=cost backbone={backbone}` measures them"
        yield f"No costs of {backbone} were measured either: {measure}; then ask again for what fits."
    for table in costs:
        rows = [r for r in table.rows if r.attn != CONTROL and asked.row(r) and r.done]
        fitting = [r for r in rows if _judge(r, bounds) in ("within", "unsure")]
        names = names or list(dict.fromkeys(r.mechanism for r in fitting))
        yield f"Of the costs of {table.title}, {len(fitting)} of {len(rows)} rows are within the limits:"
        yield terminal(fitting, [*WHO[1:], *COST[:3], COST[5]])
    yield "\n".join(missing.unknown_table(asked, dict.fromkeys([CONTROL, *names]), every, compose))
