"""How often intervals hold and verdicts are false, simulated where the truth is known.

`python -m benchmarks.intervals` simulates every situation and writes `results/interval-coverage.md` and
`.csv`; the tests run the same situations with fewer tables.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnbench.records import write_whole
from attnbench.report.statistics.paired import Effects, effects

SEEDS, ROWS = (3, 5, 10), (3, 10, 40)
COLLAPSED = 30.0  # points that a collapsed run loses, in standard deviations of a difference
EFFECT = 2.0  # true difference of the one row by which power is measured, in the same unit
TABLES = 10_000


@dataclass(frozen=True)
class Drawn:
    """Simulated differences (tables, rows, seeds) of rows that do nothing, in points."""

    differences: np.ndarray
    noisiest: np.ndarray  # (tables,) the row whose differences truly vary most
    floor: float = 0.0  # least variance that the resolution of the score allows


@dataclass(frozen=True)
class Rates:
    """What was counted over the tables of one situation, as shares."""

    covered: float  # intervals of single rows that hold the truth
    covered_noisiest: float  # the same of the noisiest row alone
    covered_together: float  # tables whose simultaneous intervals all hold
    false_verdicts: float  # tables with a verdict although no row does anything
    power: float  # rows with a true difference of `EFFECT` that are found
    power_alone: float  # the same by each row's own t test, corrected alike
    winner_covered: float  # the interval of the row with the largest gain holds its truth


Draw = Callable[[np.random.Generator, int, int, int], Drawn]


def normal(scale: Callable[[np.random.Generator, int, int], np.ndarray], shared: float = 0.5) -> Draw:
    """Normal differences; `scale` gives each row's (tables, rows), `shared` is the control's part."""

    def draw(rng: np.random.Generator, tables: int, rows: int, seeds: int) -> Drawn:
        each = scale(rng, tables, rows)
        own = rng.normal(size=(tables, rows, seeds)) * each[..., None]
        found = np.sqrt(1 - shared) * own - np.sqrt(shared) * rng.normal(size=(tables, 1, seeds))
        return Drawn(found, each.argmax(1))

    return draw


def _equal(rng: np.random.Generator, tables: int, rows: int) -> np.ndarray:
    return np.ones((tables, rows))


def _one(factor: float) -> Callable[[np.random.Generator, int, int], np.ndarray]:
    return lambda rng, tables, rows: np.where(np.arange(rows) == 0, factor, 1.0) * np.ones((tables, 1))


def _lognormal(rng: np.random.Generator, tables: int, rows: int) -> np.ndarray:
    return np.exp(0.7 * rng.normal(size=(tables, rows)))


def heavy(rng: np.random.Generator, tables: int, rows: int, seeds: int) -> Drawn:
    """Differences of scores from Student's t with three degrees of freedom."""
    own = rng.standard_t(3, size=(tables, rows, seeds)) - rng.standard_t(3, size=(tables, 1, seeds))
    return Drawn(own / np.sqrt(6), np.zeros(tables, int))


def discrete(images: int) -> Draw:
    """Accuracies of about 75 % on so many test images."""

    def draw(rng: np.random.Generator, tables: int, rows: int, seeds: int) -> Drawn:
        right = np.clip(0.75 + rng.normal(0, 0.01, (tables, 1, seeds)), 0, 1)
        scores = rng.binomial(images, right * np.ones((tables, rows + 1, seeds))) * 100 / images
        return Drawn(scores[:, 1:] - scores[:, :1], np.zeros(tables, int), (100 / images) ** 2 / 6)

    return draw


def altered(change: Callable[[np.random.Generator, np.ndarray], None]) -> Draw:
    """Normal differences of equal variance, changed in place."""

    def draw(rng: np.random.Generator, tables: int, rows: int, seeds: int) -> Drawn:
        drawn = normal(_equal)(rng, tables, rows, seeds)
        change(rng, drawn.differences)
        return drawn

    return draw


def _collapse_once(rng: np.random.Generator, found: np.ndarray) -> None:
    found[:, 0, 0] -= COLLAPSED


def _collapse_often(rng: np.random.Generator, found: np.ndarray) -> None:
    found -= COLLAPSED * (rng.random(found.shape) < 0.05)


def _lose(rng: np.random.Generator, found: np.ndarray) -> None:
    found[rng.random(found.shape) < 0.2] = np.nan


def _stop_early(rng: np.random.Generator, found: np.ndarray) -> None:
    tables, rows, seeds = found.shape
    kept = rng.integers(2, seeds + 1, (tables, rows))
    found[np.arange(seeds)[None, None] >= kept[..., None]] = np.nan


SITUATIONS: dict[str, Draw] = {
    "equal variances": normal(_equal),
    "one row of 3 times the noise": normal(_one(3.0)),
    "one row of 10 times the noise": normal(_one(10.0)),
    "lognormal variances": normal(_lognormal),
    "one collapsed run": altered(_collapse_once),
    "5 % of runs collapse": altered(_collapse_often),
    "heavy tails (t3)": heavy,
    "no shared noise": normal(_equal, 0.0),
    "shared noise 0.3": normal(_equal, 0.3),
    "shared noise 0.9": normal(_equal, 0.9),
    "100 test images": discrete(100),
    "500 test images": discrete(500),
    "20 % of seeds missing": altered(_lose),
    "unequal numbers of seeds": altered(_stop_early),
}


def measure(name: str, seeds: int, rows: int, tables: int) -> Rates:
    """The rates of one situation, from a stream of random numbers of its own."""
    rng = np.random.default_rng([list(SITUATIONS).index(name), seeds, rows])
    drawn = SITUATIONS[name](rng, tables, rows, seeds)
    found = effects(drawn.differences, drawn.floor, least=2)
    judged = ~np.isnan(found.half_width)
    holds = np.abs(found.mean) <= found.half_width
    together = (found.low <= 0) & (found.high >= 0) | ~judged
    one = np.arange(tables), drawn.noisiest
    unit = float(np.nanmedian(found.sd))
    return Rates(
        covered=float(holds[judged].mean()),
        covered_noisiest=float(holds[one][judged[one]].mean()),
        covered_together=float(together.all(1).mean()),
        false_verdicts=float((found.p_holm < 0.05).any(1).mean()),
        power=_power(drawn, unit, lambda d: effects(d, drawn.floor, least=2)),
        power_alone=_power(drawn, unit, lambda d: _alone(d, drawn.floor)),
        winner_covered=_winner(rng, drawn, unit),
    )


def _power(drawn: Drawn, unit: float, judge: Callable[[np.ndarray], Effects]) -> float:
    """How often the last row is found when it truly gains `EFFECT` times `unit`, the median row's sd."""
    moved = drawn.differences.copy()
    moved[:, -1] += EFFECT * unit
    return float((judge(moved).p_holm[:, -1] < 0.05).mean())


def _alone(differences: np.ndarray, floor: float) -> Effects:
    """Each row by its own variance, then Holm's correction."""
    from attnbench.report.statistics.paired import holm

    tables, rows, seeds = differences.shape
    found = effects(differences.reshape(tables * rows, 1, seeds), floor, least=2)
    each = {k: v.reshape(tables, rows) for k, v in vars(found).items() if k != "prior"}
    return Effects(**each | {"p_holm": holm(each["p"])}, prior=found.prior)


def _winner(rng: np.random.Generator, drawn: Drawn, unit: float) -> float:
    """How often the interval of the row with the largest gain holds what that row truly gains."""
    tables, rows, _ = drawn.differences.shape
    truth = rng.normal(0, 0.7 * unit, (tables, rows))
    found = effects(drawn.differences + truth[..., None], drawn.floor, least=2)
    best = np.arange(tables), np.nanargmax(np.where(np.isnan(found.low), -np.inf, found.mean), axis=1)
    return float(((found.low[best] <= truth[best]) & (truth[best] <= found.high[best])).mean())


def situations() -> Iterator[tuple[str, int, int]]:
    """Every situation with every number of seeds and rows."""
    yield from ((name, seeds, rows) for name in SITUATIONS for seeds in SEEDS for rows in ROWS)


def main(tables: int = TABLES, results: Path = Path("results")) -> None:
    """Simulate all situations and write the table."""
    import pandas as pd

    lines = []
    for name, seeds, rows in situations():
        found = measure(name, seeds, rows, tables if rows < max(ROWS) else tables // 4)
        lines.append({"situation": name, "seeds": seeds, "rows": rows, **vars(found)})
        print(*lines[-1].values(), flush=True)
    frame = pd.DataFrame(lines)
    text = INTRODUCTION.format(tables=f"{tables:,}", fewer=f"{tables // 4:,}", rows=max(ROWS))
    shown = frame.rename(columns=lambda name: name.replace("_", " "))
    write_whole(results / "interval-coverage.csv", frame.to_csv(index=False, float_format="%.4f").encode())
    page = text + shown.to_markdown(index=False, floatfmt=".3f") + "\n"
    write_whole(results / "interval-coverage.md", page.encode())


INTRODUCTION = """# Coverage of intervals, false verdicts and power

Simulated tables whose truth is known, judged as a leaderboard judges its rows: {tables} tables a line,
{fewer} with {rows} rows (`python -m benchmarks.intervals`).

- covered: single rows' 95 % intervals that hold the truth; noisiest: those of the row that varies most.
- covered together: tables whose simultaneous intervals all hold.
- false verdicts: tables with *helps* or *hurts* although no row does anything.
- power: how often a row that gains two standard deviations of a difference is found; power alone: the same
  by each row's own t test with the same correction.
- winner covered: how often the printed interval of the row with the largest gain holds its true gain.

"""

if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else TABLES)
