"""What the records say, as data frames: mechanisms compared, and which one to take."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnbench.errors import UserError
from attnbench.report.files import points
from attnbench.report.pages.leaderboard import shared
from attnbench.report.query import selection
from attnbench.report.query.recommend import Answer, Question
from attnbench.report.query.store import fitting, read
from attnbench.report.tables.columns import NAME, Column
from attnbench.report.tables.sections import of_csv
from attnbench.report.tables.table import CONTROL, Row, Table

if TYPE_CHECKING:
    import pandas as pd


def compare(
    *attn: str, results: str | Path = "results", difference: float | None = None, **names: Any
) -> "pd.DataFrame":
    """Mechanisms beside their control, a row each, in every table of the records that the names fit.

    `names` are those of a task, data set, backbone, recipe, site or category, or lists of them; `difference`
    is the one that matters in a verdict, in points. Columns are those of the tables' CSV files: `verdict`,
    `delta_points` with its 95 % interval, scores, costs, latency. Raises `UserError` where nothing fits.
    """
    asked = selection.parse(_words(attn, names, results, difference), takes=("difference",))
    store = read(asked, points(asked.rest.get("difference")))
    found = fitting(store.tables, asked)
    chosen = [(t, [r for r in t.rows if r.attn == CONTROL or asked.row(r)]) for t in found]
    kept = [(table, rows) for table, rows in chosen if any(row.attn != CONTROL for row in rows)]
    if not kept:
        written = ", ".join(f"{key}={','.join(values)}" for key, values in asked.asked.items())
        raise UserError(f"no record answers {written or 'this'}; there are: {'; '.join(store.titles)}")
    return _frame(line for table, rows in kept for line in _lines(table, rows))


def recommend(
    backbone: str,
    *attn: str,
    results: str | Path = "results",
    difference: float | None = None,
    max_latency: str | None = None,
    max_params: str | None = None,
    max_macs: str | None = None,
    max_memory: str | None = None,
    **names: Any,
) -> "pd.DataFrame":
    """The mechanisms that keep within limits of cost on a backbone, the best first.

    Limits are texts such as "+5%" and "1.05x" of the control, or amounts such as "30M". Columns are those of
    `compare`, and `limits`: within, unsure or not measured. `frame.attrs["advice"]` says in a sentence what
    to take, for each table. Where nothing was trained, the rows are those of cost-only tables. Raises
    `UserError` where nothing is recorded.
    """
    limits = {"max_latency": max_latency, "max_params": max_params}
    limits |= {"max_macs": max_macs, "max_memory": max_memory}
    given = {key: text for key, text in limits.items() if text is not None}
    question = Question.read(_words(attn, {"backbone": backbone, **names, **given}, results, difference))
    answers = question.answers()
    advice = {answer.table.title: answer.advice for answer in answers}
    if not answers:
        advice = {backbone: f"Nothing was trained on {backbone} so far, so gains are not known."}
    frame = _frame(line for answer in answers or question.costs() for line in _judged(answer))
    frame.attrs["advice"] = advice
    return frame


def _words(
    attn: Sequence[str], names: dict[str, Any], results: str | Path, difference: float | None
) -> list[str]:
    given = {**({"attn": ",".join(attn)} if attn else {}), **names, "results": str(results)}
    if difference is not None:
        given["difference"] = str(difference)
    texts = {k: ",".join(map(str, v)) if isinstance(v, list | tuple) else str(v) for k, v in given.items()}
    return [f"{key}={value}" for key, value in texts.items()]


def _judged(answer: Answer) -> Iterable[dict[str, Any]]:
    return _lines(answer.table, answer.kept, [answer.limits])


def _lines(table: Table, rows: Sequence[Row], more: Sequence[Column] = ()) -> Iterable[dict[str, Any]]:
    for row in rows:
        measured = {k: v for c in (NAME, *more, *of_csv(table)) for k, v in zip(c.keys, c.of(row))}
        yield {**measured, **shared(table)}


def _frame(lines: Iterable[dict[str, Any]]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(list(lines))
