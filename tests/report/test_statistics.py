"""Paired statistics against answers worked by hand, against scipy, and against simulated truth."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from attnbench.report.statistics.paired import (
    effects,
    holm,
    mean_interval,
    paired,
    pooled,
    probability,
    ranks,
    seeds_needed,
)

NAN = np.nan


def test_a_difference_needs_both_sides_of_the_pair() -> None:
    scores = np.array([[61.0, 62.0, NAN], [60.0, NAN, NAN]])
    assert_array_equal(paired(scores, np.array([60.0, 60.5, 61.0])), [[1.0, 1.5, NAN], [0.0, NAN, NAN]])
    assert_array_equal(paired(scores, np.array([60.0, NAN, 61.0])), [[1.0, NAN, NAN], [0.0, NAN, NAN]])


def test_one_row_is_the_paired_t_test_of_scipy() -> None:
    differences = np.array([[0.4, 1.1, -0.2, 0.8, 0.6]])
    found = effects(differences)
    known = stats.ttest_1samp(differences[0], 0)
    low, high = known.confidence_interval(0.95)
    assert_allclose([found.low[0], found.high[0], found.p[0]], [low, high, known.pvalue])
    assert found.freedom == 4


def test_variance_is_pooled_over_rows() -> None:
    deviation, freedom = pooled(np.array([[1.0, 3.0], [2.0, 2.0]]))
    assert deviation == 1.0  # sums of squares 2 and 0, over 1 + 1
    assert freedom == pytest.approx(1.6)  # less than 2: both rows lean on one control


def test_rows_that_share_no_seed_are_independent() -> None:
    differences = np.array([[1.0, 2.0, 3.0, NAN, NAN, NAN], [NAN, NAN, NAN, 1.0, 2.0, 4.0]])
    assert pooled(differences)[1] == pytest.approx(4)


def test_one_pair_gives_a_mean_and_no_interval() -> None:
    alone = effects(np.array([[0.5], [0.7]]))
    assert_array_equal(alone.mean, [0.5, 0.7])
    assert np.isnan([alone.low, alone.high, alone.p, alone.p_holm]).all()
    among = effects(np.array([[0.5, NAN, NAN], [0.7, 0.9, 0.2]]))
    assert np.isnan([among.low[0], among.p[0], among.p_holm[0]]).all()
    assert not np.isnan([among.low[1], among.p[1], among.p_holm[1]]).any()


def test_no_pair_gives_nothing_and_disturbs_no_other_row() -> None:
    differences = np.array([[0.7, 0.9, 0.2], [NAN, NAN, NAN]])
    with_empty, without = effects(differences), effects(differences[:1])
    assert np.isnan([with_empty.mean[1], with_empty.low[1], with_empty.p[1]]).all()
    assert (with_empty.low[0], with_empty.p_holm[0]) == (without.low[0], without.p_holm[0])
    assert effects(np.empty((0, 3))).mean.size == 0
    assert np.isnan(effects(np.empty((2, 0))).mean).all()


def test_differences_that_do_not_vary_are_not_judged() -> None:
    found = effects(np.array([[0.5, 0.5, 0.5]]))
    assert found.mean[0] == 0.5
    assert np.isnan([found.low[0], found.p[0]]).all()


def test_a_table_is_the_same_in_any_order() -> None:
    differences = np.random.default_rng(1).normal(size=(6, 4))
    differences[2, 1] = NAN
    order = [3, 1, 5, 0, 2, 4]
    found, turned = effects(differences), effects(differences[order][:, [2, 0, 3, 1]])
    assert_allclose(turned.p_holm, found.p_holm[order])
    assert_allclose(turned.high, found.high[order])


def test_the_interval_of_a_mean_is_the_t_interval_of_scipy() -> None:
    scores = [75.2, 75.6, 75.5, 74.9]
    known = stats.t.interval(0.95, 3, np.mean(scores), stats.sem(scores))
    assert_allclose(mean_interval(scores), [np.mean(scores), *known])
    assert mean_interval([75.2]) == (75.2, None, None)


def test_holm_by_hand() -> None:
    assert_allclose(holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])
    assert_allclose(holm(np.array([0.01, NAN, 0.03])), [0.02, NAN, 0.03])
    assert_allclose(holm(np.array([0.9, 0.8])), [1.0, 1.0])
    assert holm(np.array([])).size == 0


def test_ranks_leave_out_what_has_too_few_seeds() -> None:
    mean = np.array([0.1, 0.9, 0.5, 0.1, 0.3])
    assert ranks(mean, np.array([5, 4, 5, 6, 5])) == [3, None, 1, 3, 2]
    assert ranks(mean, np.array([3, 3, 3, 3, 3])) == [None] * 5


@pytest.mark.parametrize(("difference", "pairs"), [(0.5, 34), (0.2, 199), (0.8, 15)])
def test_seeds_needed_are_those_of_the_power_tables(difference: float, pairs: int) -> None:
    """Cohen's d for one sample, two-sided 5 %, power 80 %."""
    unit = np.array([[-1.0, 0.0, 1.0]])  # of standard deviation 1
    assert seeds_needed(effects(unit), difference) == pairs
    assert seeds_needed(effects(3 * unit), 3 * difference) == pairs


def test_seeds_needed_grow_with_the_rows_and_are_unknown_without_variance() -> None:
    unit = np.array([[-1.0, 0.0, 1.0]])
    many = effects(np.repeat(unit, 40, axis=0))
    assert seeds_needed(many, 0.5) > 34  # type: ignore[operator]
    assert seeds_needed(effects(np.array([[0.5, 0.5, 0.5]])), 0.2) is None
    assert seeds_needed(effects(np.array([[0.5]])), 0.2) is None
    assert seeds_needed(effects(unit * 1e9), 0.2) is None


def test_seeds_needed_do_find_the_difference_that_often() -> None:
    """The number for one row of four, all of whose differences have the standard deviation 1."""
    rng = np.random.default_rng(3)
    needed = seeds_needed(effects(np.repeat([[-1.0, 0.0, 1.0]], 4, axis=0)), 1.0)
    assert needed is not None
    truth = np.array([[0.0], [0.0], [0.0], [1.0]])
    hits = [
        effects(truth + (rng.normal(size=(4, needed)) - rng.normal(size=needed)) / np.sqrt(2)).p_holm[3]
        for _ in range(2000)
    ]
    assert 0.78 < np.mean(np.array(hits) < 0.05) < 0.9


def test_probability_of_improvement_is_how_often_a_new_seed_gains() -> None:
    """Where nothing is known beforehand: true differences far larger than the noise."""
    rng = np.random.default_rng(7)
    said, came = [], []
    for _ in range(2000):
        truth = rng.normal(0, 6, 6)
        luck = rng.normal(size=6)
        scores = truth[:, None] + rng.normal(size=(6, 6))
        found = effects(paired(scores[:, :5], luck[:5]))
        said.append(probability(found))
        came.append(scores[:, 5] > luck[5])
    chance, event = np.concatenate(said), np.concatenate(came)
    for low, high in ((0, 0.2), (0.4, 0.6), (0.8, 1)):
        chosen = (chance > low) & (chance <= high)
        assert chosen.sum() > 200
        assert event[chosen].mean() == pytest.approx(chance[chosen].mean(), abs=0.05)


def test_probability_needs_two_pairs_and_some_variance() -> None:
    found = probability(effects(np.array([[1.0, NAN, NAN], [0.1, -0.1, 0.0]])))
    assert np.isnan(found[0]) and found[1] == pytest.approx(0.5)
    assert np.isnan(probability(effects(np.array([[0.5, 0.5]])))).all()


def simulated(rows: int, seeds: int, missing: float, effect: float, tables: int = 2000) -> list:
    """Effects of tables whose networks all vary by 1 and whose rows share the control."""
    rng = np.random.default_rng(rows * 100 + seeds)
    found = []
    for _ in range(tables):
        luck = rng.normal(0, 2, seeds)  # of a seed's data order, the same for every row
        scores = effect + luck + rng.normal(size=(rows, seeds))
        scores[rng.random(scores.shape) < missing] = NAN
        found.append(effects(paired(scores, luck + rng.normal(size=seeds))))
    return found


@pytest.mark.parametrize(
    ("rows", "seeds", "missing"),
    [
        (1, 3, 0),
        (3, 3, 0),
        (8, 3, 0),
        (40, 3, 0),
        (8, 3, 0.2),
        (8, 5, 0),
        (40, 5, 0.1),
        (8, 10, 0),
        (40, 10, 0),
    ],
)
def test_95_percent_intervals_hold_the_truth_that_often(rows: int, seeds: int, missing: float) -> None:
    found = simulated(rows, seeds, missing, effect=0.3)
    low, high = np.concatenate([f.low for f in found]), np.concatenate([f.high for f in found])
    judged = ~np.isnan(low)
    assert judged.mean() > 0.8
    assert 0.93 <= ((low <= 0.3) & (high >= 0.3))[judged].mean() <= 0.97


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_forty_mechanisms_that_do_nothing_are_rarely_called_different(seeds: int) -> None:
    found = simulated(40, seeds, 0, effect=0.0)
    assert np.mean([(f.p_holm < 0.05).any() for f in found]) <= 0.05


def test_a_real_effect_is_found() -> None:
    found = simulated(40, 5, 0, effect=4.0, tables=300)
    assert np.mean([(f.p_holm < 0.05).mean() for f in found]) > 0.6
