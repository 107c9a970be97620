"""Intervals and verdicts on simulated tables whose truth is known, in the situations of the benchmark."""

import pytest

from benchmarks.intervals import ROWS, SEEDS, SITUATIONS, Rates, measure

TABLES = {3: 1000, 10: 700, 40: 250}  # by rows
LEAST = 0.93  # of single intervals; the noisiest row's, of fewer draws, may miss by their chance
FALSE = 0.056


def check(found: Rates, tables: int) -> None:
    chance = 2.5 * (0.05 * 0.95 / tables) ** 0.5
    assert LEAST <= found.covered <= 0.995
    assert found.covered_noisiest >= LEAST - chance
    assert found.false_verdicts <= FALSE + chance
    assert found.covered_together >= 0.95 - chance
    assert found.winner_covered >= 0.95 - chance
    assert found.power >= found.power_alone - chance


@pytest.mark.parametrize("situation", SITUATIONS)
def test_intervals_hold_and_verdicts_are_rarely_false(situation: str) -> None:
    for rows in ROWS:
        check(measure(situation, 5, rows, TABLES[rows]), TABLES[rows])


@pytest.mark.slow
@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_intervals_hold_with_any_number_of_seeds_and_rows(situation: str, seeds: int) -> None:
    for rows in ROWS:
        check(measure(situation, seeds, rows, 4 * TABLES[rows]), 4 * TABLES[rows])


def test_one_variance_for_all_rows_would_fail_here() -> None:
    """The rule before this one: with a row of ten times the noise its interval holds in a third of tables."""
    import numpy as np

    rng = np.random.default_rng(0)
    drawn = SITUATIONS["one row of 10 times the noise"](rng, 1000, 10, 5).differences
    sd = np.sqrt(drawn.var(-1, ddof=1).mean(-1, keepdims=True))
    half_width = 2.03 * sd / np.sqrt(5)  # t at about 36 degrees of freedom
    assert (np.abs(drawn.mean(-1))[:, 0] <= half_width[:, 0]).mean() < 0.6
