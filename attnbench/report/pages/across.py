"""Which mechanisms rank well over several tables of one task, and whether that hangs on one backbone."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from attnbench.report.pages.leaderboard import MARK, Parts, bullets, grid, plain
from attnbench.report.statistics import ranking
from attnbench.report.statistics.paired import RANKED_FROM, mean_interval
from attnbench.report.tables.columns import Column, probability
from attnbench.report.tables.table import Remembering, Row, Table

WITHIN = (0.0, 0.2, 0.5, 1.0)  # points behind the best of a table
SEVERAL = 2  # tables and rows at least


@dataclass
class Board:
    """Rows that were judged in all of some tables of one task."""

    task: str
    tables: list[Table]
    names: list[str]
    gains: np.ndarray  # (tables, rows), points to the control
    left_out: list[str]  # rows that too few tables have

    @property
    def ranks(self) -> np.ndarray:
        return ranking.ranked(self.gains)


@dataclass
class Line(Remembering):
    """One row's standing over the tables."""

    name: str
    rank: tuple[float, float | None, float | None]
    gain: float
    within: list[float]
    tables: int


def boards(found: Sequence[Table]) -> list[Board]:
    """One for each task that has two tables or more with the same rows in them."""
    by_task: dict[str, list[Table]] = {}
    for table in found:
        if table.metric and sum(map(_judged, table.rows)) >= SEVERAL:
            by_task.setdefault(table.task, []).append(table)
    made = [_board(task, tables) for task, tables in sorted(by_task.items())]
    return [b for b in made if len(b.tables) >= SEVERAL and len(b.names) >= SEVERAL]


def _judged(row: Row) -> bool:
    return row.effect is not None and row.effect.mean is not None and row.effect.pairs >= RANKED_FROM


def _board(task: str, tables: list[Table]) -> Board:
    """The rows that at least half of the tables have, and the tables that have all of those."""
    gains = [{r.name: r.effect.mean for r in t.rows if r.effect and _judged(r)} for t in tables]
    count = Counter(name for found in gains for name in found)
    names = [name for name, n in count.items() if 2 * n >= len(tables)]
    kept = [i for i, found in enumerate(gains) if set(names) <= set(found)]
    matrix = np.array([[gains[i][name] for name in names] for i in kept], float)
    left_out = sorted(set(count) - set(names))
    return Board(task, [tables[i] for i in kept], names, matrix.reshape(len(kept), len(names)), left_out)


def lines(board: Board) -> list[Line]:
    """The rows by mean rank, the best first."""
    ranks, shares = board.ranks, ranking.profile(board.gains, WITHIN)
    found = [
        Line(
            name,
            _rank(ranks[:, i]),
            float(board.gains[:, i].mean()),
            [float(share) for share in shares[i]],
            len(board.tables),
        )
        for i, name in enumerate(board.names)
    ]
    return sorted(found, key=lambda line: (line.rank[0], line.name))


def _rank(places: np.ndarray) -> tuple[float, float | None, float | None]:
    """Mean place with its interval, which ends where places do."""
    mean, low, high = mean_interval(places.tolist())
    return mean, low and max(low, 1.0), high


def _share(i: int) -> Callable[[Line], tuple]:
    return lambda line: (line.within[i],)


def _show_rank(mean: float, low: float | None, high: float | None) -> str:
    return f"{mean:.2f}" if low is None else f"{mean:.2f} [{low:.2f}, {high:.2f}]"


COLUMNS = [
    Column(("row",), "mechanism", lambda line: (line.name,), text=True),
    Column(
        ("mean_rank", "mean_rank_low", "mean_rank_high"),
        "mean rank ↓ [95 %]",
        lambda line: line.rank,
        _show_rank,
    ),
    Column(("mean_delta_points",), "mean Δ (points) ↑", lambda line: (line.gain,), lambda v: f"{v:+.2f}"),
    *(
        Column(
            (f"share_within_{points:g}_points",),
            "best of its table" if not points else f"within {points:g} points of the best",
            _share(i),
            lambda share: f"{100 * share:.0f} %",
        )
        for i, points in enumerate(WITHIN)
    ),
    Column(("tables",), "tables", lambda line: (line.tables,)),
]


def stability(board: Board) -> list[str]:
    """How the ranking changes when one backbone is left out."""
    backbones = sorted({t.backbone for t in board.tables})
    if len(backbones) < SEVERAL:
        return [f"All tables are of {backbones[0]}, so that nothing can be said of other backbones."]
    ranks, said = board.ranks, []
    first = board.names[int(ranks.mean(0).argmin())]
    for backbone in backbones:
        kept = np.array([t.backbone != backbone for t in board.tables])
        best = board.names[int(ranks[kept].mean(0).argmin())]
        same = "the same row is first" if best == first else f"{best} is first instead of {first}"
        tau = ranking.agreement(board.ranks, kept)
        said.append(f"without {backbone}: Kendall's tau {tau:+.2f} to the whole ranking, {same}")
    return said


def judgement(board: Board) -> str:
    """Friedman's test and the critical difference, or why there is none."""
    found = ranking.friedman(board.ranks)
    if found is None:
        return (
            f"Friedman's test and a critical difference need {ranking.ENOUGH_TABLES} tables with "
            f"{ranking.ENOUGH_ROWS} rows in common; there are {len(board.tables)} with {len(board.names)}."
        )
    return (
        f"Friedman's test (Iman and Davenport): F = {found.statistic:.2f}, p {_equals(found.p)}. Critical "
        f"difference of mean ranks (Nemenyi, 5 %): {found.critical_difference:.2f}."
    )


def _equals(p: float) -> str:
    text = probability(p)
    return text if text.startswith("<") else f"= {text}"


def parts(found: Sequence[Board]) -> Parts:
    """Heading -> rows and columns."""
    return {f"Task {board.task}": (lines(board), COLUMNS) for board in found}


def page(found: Sequence[Board]) -> str:
    """All tasks' rankings as Markdown."""
    told = [MARK, "# Across tables", READING]
    for board, (heading, (rows, columns)) in zip(found, parts(found).items()):
        told += [f"## {heading}", grid(rows, columns), judgement(board)]
        told += ["Stability:", bullets(map(plain, stability(board)))]
        told += ["Tables:", bullets(plain(t.title) for t in board.tables)]
        if board.left_out:
            told.append(f"In fewer than half of the tables and left out: {', '.join(board.left_out)}.")
    return "\n\n".join(told) + "\n"


READING = (
    f"Rows with {RANKED_FROM} paired seeds or more, ranked within each table by their difference to `none`. "
    "Mean ranks have t intervals over tables; the shares are a performance profile: in how many tables a row "
    "is that close to the best."
)
