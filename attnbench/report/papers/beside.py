"""Tables as the field prints them: what papers say beside what we measured, on one network and data set."""

from collections.abc import Callable
from dataclasses import dataclass

from attnbench.report.papers import accuracies
from attnbench.report.tables.columns import Column, delta, few
from attnbench.report.tables.metrics import of_task
from attnbench.report.tables.table import CONTROL, Remembering, Row, Table

UNITS = (
    "“Paper” is as the source prints it, in its own units and by its own recipe (`report published` counts "
    "costs by each source's convention). Gains are to the baseline of the same table only: ours to `none` "
    "with the same seeds, a paper's to the baseline of its own table."
)


@dataclass
class Line(Remembering):
    """One of our rows beside one source's figures, or either alone."""

    attn: str
    backbone: str
    row: Row | None
    figures: dict[str, accuracies.Figure]  # metric -> what the source prints

    @property
    def figure(self) -> accuracies.Figure | None:
        return next(iter(self.figures.values()), None)


def lines(table: Table) -> list[Line]:
    """Each of our rows with every source that has its mechanism on this network and data; ours alone else.

    None where ours were scored at a size of their own: such figures are not comparable with papers'.
    """
    if table.resized:
        return []
    return table.once("comparison", lambda: _lines(table))


def _lines(table: Table) -> list[Line]:
    printed = _printed(table)
    found = []
    for row in table.rows:
        sources = printed.get(row.mechanism, {})
        found += [Line(row.attn, table.backbone, row, figures) for figures in sources.values()]
        if not sources:
            found.append(Line(row.attn, table.backbone, row, {}))
    there = {row.mechanism for row in table.rows}
    others = [(name, figures) for name in printed if name not in there for figures in printed[name].values()]
    return found + [Line(name, table.backbone, None, figures) for name, figures in others]


def _printed(table: Table) -> dict[str, dict[str, dict[str, accuracies.Figure]]]:
    """Mechanism -> source -> metric -> figure."""
    found: dict[str, dict[str, dict[str, accuracies.Figure]]] = {}
    for metric in _metrics(table):
        for name, figures in accuracies.on(table.backbone, table.data, metric).items():
            for figure in figures:
                found.setdefault(name, {}).setdefault(figure.source, {})[metric] = figure
    return found


def _metrics(table: Table) -> list[str]:
    """The metrics that a comparison shows: the first two of the task."""
    return [metric.key for metric in of_task(table.task)[:2]]


def _ours(work: Callable[[Row], float | None]) -> Callable[[Line], tuple]:
    return lambda line: (work(line.row) if line.row else None,)


def _cost(*path: str) -> Callable[[Line], tuple]:
    return _ours(lambda row: row.middle(*path))


def _paper(name: str) -> Callable[[Line], tuple]:
    return lambda line: ((getattr(line.figure, name) or None) if line.figure else None,)


def _score(metric: str) -> tuple[Callable[[Line], tuple], Callable[[Line], tuple]]:
    """Our mean over seeds, and the paper's value."""

    def ours(line: Line) -> tuple:
        found = list(line.row.score(metric).values()) if line.row else []
        every = len(line.row.seeds) if line.row else 0
        return (sum(found) / len(found) if found else None, len(found), every)

    def paper(line: Line) -> tuple:
        figure = line.figures.get(metric)
        return (figure.value, figure.of) if figure else (None, None)

    return ours, paper


def _gain(line: Line) -> tuple:
    effect = line.row.effect if line.row else None
    return (effect.mean, effect.low, effect.high) if effect else (None, None, None)


def _paper_gain(line: Line) -> tuple:
    return (line.figure.gain if line.figure else None,)


def columns(table: Table) -> list[Column]:
    """Method, backbone, parameters, GMACs, the task's first two metrics and gains."""
    millions, billions = (lambda v: f"{v / 1e6:.3f}"), (lambda v: f"{v / 1e9:.3f}")
    scores = []
    for key in _metrics(table):
        name = accuracies.SHOWN.get(key, key)
        ours, paper = _score(key)
        scores += [
            Column(
                (f"{key}_ours_percent", f"{key}_ours_seeds", "seeds_recorded"),
                f"{name} (%), ours",
                ours,
                lambda mean, known, every: f"{mean:.2f}{few(known, every)}",
            ),
            Column((f"{key}_paper_percent", f"{key}_paper_best_of"), f"{name} (%), paper", paper, _best_of),
        ]
    first = next((accuracies.SHOWN.get(key, key) for key in _metrics(table)), "")
    return [
        Column(("method",), "method", lambda line: (line.attn,), text=True),
        Column(("backbone",), "backbone", lambda line: (line.backbone,), text=True),
        Column(("params_ours",), "parameters (M), ours", _cost("cost", "params"), millions),
        Column(("params_paper",), "parameters (M), paper", _paper("params")),
        Column(("macs_ours",), "GMACs, ours", _cost("cost", "macs"), billions),
        Column(("macs_paper",), "GMACs, paper", _paper("macs")),
        *scores,
        Column(
            ("gain_ours_points", "gain_low_ours_points", "gain_high_ours_points"),
            f"Δ {first} (pp), ours",
            _gain,
            delta,
        ),
        Column(("gain_paper_points",), f"Δ {first} (pp), paper", _paper_gain, lambda v: f"{v:+.2f}"),
        Column(("source",), "paper's source", _paper("source"), text=True),
    ]


def _best_of(value: str, of: int) -> str:
    return value if of == 1 else f"{value} (best of {of})"


def is_published(table: Table) -> bool:
    """Whether anything is published on the table's network and data."""
    return any(line.figures for line in lines(table)) and any(row.attn == CONTROL for row in table.rows)
