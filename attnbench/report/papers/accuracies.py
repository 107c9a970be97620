"""Published accuracies, each with the control of its own table.

`accuracies.csv` has one line for each mechanism, network, data, metric and source: the best of `of` printed
values, in percent (errors are printed as 100 minus the error), with the costs that the source prints beside
it, in the source's own units. Lines of `none` are the sources' baselines.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FACTS = Path(__file__).with_name("accuracies.csv")
SMALLER = ("error",)  # metrics of which less is better
BENCHMARKS = (  # data and metric by which a mechanism's best figure is chosen, the first that it has
    ("imagenet", "top1"),
    ("cityscapes", "miou"),
    ("voc", "miou"),
    ("ade20k", "miou"),
    ("Kinetics-400", "top1"),
    ("cifar100", "top1"),
    ("cifar10", "top1"),
    ("MARS", "rank1"),
)
SHOWN = {"top1": "top-1", "top5": "top-5", "miou": "mIoU", "rank1": "rank-1", "map": "mAP"}


@dataclass(frozen=True)
class Figure:
    """One published value, as printed."""

    attn: str
    backbone: str  # as the source calls it
    ours: str  # the same as a file of conf/backbone; empty where we have none
    data: str
    metric: str
    value: str
    of: int
    params: str
    macs: str
    source: str
    control: str | None = None  # the value of the same source's network without attention

    @property
    def gain(self) -> float | None:
        """Points to the control of its own table."""
        return None if self.control is None else round(float(self.value) - float(self.control), 6)

    def __str__(self) -> str:
        gain = f" ({self.gain:+.{_digits(self.value)}f} to {self.control})" if self.gain is not None else ""
        best = f", best of {self.of}" if self.of > 1 else ""
        metric = SHOWN.get(self.metric, self.metric)
        alone = "" if self.control else ", no control printed"
        return f"{metric} {self.value}{gain}{best}, {self.backbone}, {self.data}{alone}; {self.source}"


def _digits(printed: str) -> int:
    return len(printed.partition(".")[2])


@cache
def figures() -> Sequence[Figure]:
    """All published values of mechanisms, with their controls; the controls themselves are left out."""
    rows = _rows()
    controls = {_place(row): row["value"] for row in rows if row["attn"] == "none"}
    return [_figure(row, controls.get(_place(row))) for row in rows if row["attn"] != "none"]


@cache
def baselines() -> Sequence[Figure]:
    """The published values of networks without attention."""
    return [_figure(row, None) for row in _rows() if row["attn"] == "none"]


@cache
def _rows() -> list[dict[str, str]]:
    with FACTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _place(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[key] for key in ("source", "backbone", "data", "metric"))


def _figure(row: dict[str, str], control: str | None) -> Figure:
    return Figure(**{**row, "of": int(row["of"])}, control=control)  # type: ignore[arg-type]


@cache
def best(mechanism: str) -> Figure | None:
    """Its best value on the first benchmark where one has a control, else on the first benchmark at all."""
    own = [f for f in figures() if f.attn == mechanism]
    for found in ([f for f in own if f.control], own):
        for data, metric in (*BENCHMARKS, *((f.data, f.metric) for f in found)):
            there = [f for f in found if (f.data, f.metric) == (data, metric)]
            if there:
                sign = -1 if metric in SMALLER else 1
                return max(there, key=lambda f: (sign * float(f.value), f.source))
    return None


@cache
def on(backbone: str, data: str, metric: str) -> dict[str, list[Figure]]:
    """Mechanism -> what is published of it on that network and data; `none` -> the baselines."""
    found: dict[str, list[Figure]] = {}
    for figure in (*baselines(), *figures()):
        if (figure.ours, figure.data, figure.metric) == (backbone, data, metric):
            found.setdefault(figure.attn, []).append(figure)
    return found
