"""Which mechanisms rank well over several tables of one task, and whether that hangs on one backbone."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from attnbench.mechanisms import CONTROL
from attnbench.report.pages.leaderboard import MARK, Parts, bullets, grid, plain
from attnbench.report.statistics import ranking
from attnbench.report.statistics.paired import RANKED_FROM, mean_interval
from attnbench.report.tables.columns import Column, probability
from attnbench.report.tables.table import Remembering, Row, Table

WITHIN = (0.0, 0.2, 0.5, 1.0)  # points behind the best of a table
SEVERAL = 2  # tables and rows at least
AVERAGED_FROM = 5  # independent blocks, below which no mean rank is shown
FACTORS = ("backbone", "data")  # what tables may share, and are averaged within


@dataclass
class Board:
    """Rows that were judged in all of some tables of one task."""

    task: str
    tables: list[Table]
    names: list[str]
    gains: np.ndarray  # (tables, rows), points to the control
    rows_left_out: list[str]  # that too few tables have
    tables_left_out: list[Table]  # without one of the rows

    @property
    def factors(self) -> list[str]:
        """What the tables differ in, the one with the fewest values first."""
        values = {factor: {getattr(t, factor) for t in self.tables} for factor in FACTORS}
        return sorted((f for f in FACTORS if len(values[f]) > 1), key=lambda f: len(values[f]))

    def blocks(self, factor: str) -> np.ndarray:
        """Gains (blocks, rows), averaged over the tables that share the factor.

        Tables that share all factors, such as those of several recipes, are averaged before.
        """
        places = [tuple(getattr(t, f) for f in FACTORS) for t in self.tables]
        each = ranking.blocks(self.gains, places)
        return ranking.blocks(each, [place[FACTORS.index(factor)] for place in sorted(set(places))])

    @cached_property
    def votes(self) -> np.ndarray:
        """Gains (blocks, rows) within the blocks of the factor with the fewest values."""
        return self.blocks((*self.factors, *FACTORS)[0])

    @property
    def ranks(self) -> np.ndarray:
        """Places (blocks, rows) within those blocks."""
        return ranking.ranked(self.votes)


@dataclass
class Line(Remembering):
    """One row's standing over the tables."""

    name: str
    rank: tuple[float | None, float | None, float | None]
    gain: float
    within: list[float]  # share of the blocks
    tables: int
    blocks: int


def boards(found: Sequence[Table]) -> list[Board]:
    """One for each task that has two tables or more with the same rows in them."""
    by_task: dict[str, list[Table]] = {}
    for table in found:
        if table.metric:
            by_task.setdefault(table.task, []).append(table)
    made = [_board(task, tables) for task, tables in sorted(by_task.items())]
    return [b for b in made if len(b.tables) >= SEVERAL and len(b.names) >= SEVERAL]


def _judged(row: Row) -> bool:
    """Whether a mechanism has seeds enough to be ranked; controls of equal cost are no mechanisms."""
    enough = row.effect is not None and row.effect.mean is not None and row.effect.pairs >= RANKED_FROM
    return enough and row.category != CONTROL


def _board(task: str, every: list[Table]) -> Board:
    """The rows that at least half of the tables with several have, and the tables that have all of those."""
    tables = [table for table in every if sum(map(_judged, table.rows)) >= SEVERAL]
    gains = [{r.name: r.effect.mean for r in t.rows if r.effect and _judged(r)} for t in tables]
    count = Counter(name for found in gains for name in found)
    names = [name for name, n in count.items() if 2 * n >= len(tables)]
    kept = [i for i, found in enumerate(gains) if set(names) <= set(found)]
    used = [tables[i] for i in kept]
    matrix = np.array([[gains[i][name] for name in names] for i in kept], float)
    return Board(
        task,
        used,
        names,
        matrix.reshape(len(kept), len(names)),
        sorted({row.name for table in every for row in table.rows if row.effect} - set(names)),
        [table for table in every if table not in used],
    )


def lines(board: Board) -> list[Line]:
    """The rows by mean rank where there are blocks enough for one, else by mean gain, the best first."""
    ranks, shares = board.ranks, ranking.profile(board.votes, WITHIN)
    found = [
        Line(
            name,
            _rank(ranks[:, i], len(board.names)),
            float(board.votes[:, i].mean()),
            [float(share) for share in shares[i]],
            len(board.tables),
            len(ranks),
        )
        for i, name in enumerate(board.names)
    ]
    return sorted(found, key=lambda line: (line.rank[0] or 0.0, -line.gain, line.name))


def _rank(places: np.ndarray, rows: int) -> tuple[float | None, float | None, float | None]:
    """Mean place with its interval, which ends where places do; none with too few blocks."""
    if len(places) < AVERAGED_FROM:
        return None, None, None
    mean, low, high = mean_interval(places.tolist())
    return mean, low and max(low, 1.0), high and min(high, float(rows))


def _share(i: int) -> Callable[[Line], tuple]:
    return lambda line: (line.within[i],)


def _show_rank(mean: float, low: float, high: float) -> str:
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


COLUMNS = [
    Column(("row",), "mechanism", lambda line: (line.name,), text=True),
    Column(
        ("mean_rank", "mean_rank_low", "mean_rank_high"),
        "mean rank ↓ [95 %]",
        lambda line: line.rank,
        _show_rank,
    ),
    Column(("mean_delta_points",), "mean Δ (pp) ↑", lambda line: (line.gain,), lambda v: f"{v:+.2f}"),
    *(
        Column(
            (f"share_within_{points:g}_points",),
            "best" if not points else f"within {points:g} pp of the best",
            _share(i),
            lambda share: f"{100 * share:.0f} %",
        )
        for i, points in enumerate(WITHIN)
    ),
    Column(
        ("tables", "averages"),
        "tables (averages)",
        lambda line: (line.tables, line.blocks),
        lambda tables, blocks: f"{tables} ({blocks})",
    ),
]


def stability(board: Board) -> list[str]:
    """How the ranking changes when one backbone is left out."""
    backbones = sorted({t.backbone for t in board.tables})
    if len(backbones) < SEVERAL:
        return [f"All tables are of {backbones[0]}, so they do not show anything about other backbones."]
    ranks, notes = ranking.ranked(board.blocks("backbone")), []
    first = board.names[int(ranks.mean(0).argmin())]
    for i, backbone in enumerate(backbones):
        kept = np.arange(len(backbones)) != i
        best = board.names[int(ranks[kept].mean(0).argmin())]
        same = "the same row is first" if best == first else f"{best} is first instead of {first}"
        tau = ranking.agreement(ranks, kept)
        notes.append(f"without {backbone}: Kendall's tau {tau:+.2f} to the whole ranking, {same}")
    return notes


def judgement(board: Board) -> str:
    """Friedman's test and the critical difference, or why there is none.

    The test is done over the blocks of each factor that the tables differ in: what one backbone or one data
    set favors is a single vote, however many tables have it.
    """
    counts = [len(board.blocks(factor)) for factor in board.factors]
    found = [ranking.friedman(ranking.ranked(board.blocks(factor))) for factor in board.factors]
    kept = [each for each in found if each is not None]
    if not kept or len(kept) < len(found):
        there = " and ".join(
            f"{n} {'backbones' if factor == 'backbone' else 'data sets'}"
            for factor, n in zip(board.factors, counts)
        )
        return (
            f"Friedman's test and a critical difference need {ranking.ENOUGH_BLOCKS} backbones or data "
            f"sets with {ranking.ENOUGH_ROWS} rows in common; there are {there or 'one of each'} with "
            f"{len(board.names)}."
        )
    whole = ranking.combined(kept)
    return (
        f"Friedman's test (Iman and Davenport): F = {whole.statistic:.2f}, p {_equals(whole.p)}. Critical "
        f"difference of mean ranks (Nemenyi, 5 %): {whole.critical_difference:.2f}."
    )


def _equals(p: float) -> str:
    text = probability(p)
    return text if text.startswith("<") else f"= {text}"


def parts(found: Sequence[Board]) -> Parts:
    """Heading -> rows and columns."""
    return {f"Task {board.task}": (lines(board), COLUMNS) for board in found}


def page(found: Sequence[Board]) -> str:
    """All tasks' rankings as Markdown."""
    texts = [MARK, "# Across tables", READING]
    for board, (heading, (rows, columns)) in zip(found, parts(found).items()):
        texts += [f"## {heading}", grid(rows, columns), judgement(board)]
        texts += ["Stability:", bullets(map(plain, stability(board)))]
        texts += ["Tables:", bullets(plain(t.title) for t in board.tables)]
        if said := unstable(board):
            texts += [
                "Seeds that did not train; a diverged one enters no difference:",
                bullets(map(plain, said)),
            ]
        if board.rows_left_out:
            named = ", ".join(map(plain, board.rows_left_out))
            texts.append(f"Rows with too few seeds, or in fewer than half of the tables, left out: {named}.")
        if board.tables_left_out:
            titles = "; ".join(plain(t.title) for t in board.tables_left_out)
            texts.append(f"Tables without all of these rows, left out: {titles}.")
    return "\n\n".join(texts) + "\n"


def unstable(board: Board) -> list[str]:
    """Each row some of whose seeds diverged or collapsed, with the table."""
    return [
        f"{row.name}: {len(row.diverged)} of {len(row.seeds)} seeds diverged and {len(row.collapsed)} "
        f"collapsed in {table.title}"
        for table in board.tables
        for row in table.rows
        if row.name in board.names and (row.diverged or row.collapsed)
    ]


READING = (
    f"Rows with {RANKED_FROM} paired seeds or more, ranked by their difference to `none` after averaging the "
    "tables that share a backbone and a data set, then those that share a backbone (or a data set, whichever "
    "the tables have fewer of), for these are no independent votes. All columns are of these averages. A "
    f"mean rank needs {AVERAGED_FROM} of them and has a t interval; the shares are a performance profile: in "
    "how many averages a row is that close to the best. Controls of equal cost are not ranked."
)
