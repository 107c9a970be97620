"""Paired statistics against answers worked by hand, against scipy, and against simulated truth."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special, stats

from attnbench.report.statistics import power, variance
from attnbench.report.statistics.paired import effects, holm, mean_interval, paired, rank_intervals

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
    assert (found.df[0], found.gained[0], found.pairs[0]) == (4, 4, 5)


def test_the_prior_of_the_variances_is_smyths() -> None:
    """Moments of log F: the degrees of freedom solve trigamma(d0 / 2) = var(e) - trigamma(d / 2)."""
    rng = np.random.default_rng(0)
    own = np.exp(rng.normal(0, 1.5, 4000)) * rng.chisquare(4, 4000) / 4
    usable = rng.random(4000) < 0.9
    found = variance.fit(own, np.full(4000, 4.0), usable)
    logs = np.log(own[usable]) - special.digamma(2) + np.log(2)
    logs = np.clip(logs, *np.quantile(logs, (0.1, 0.9)))
    assert special.polygamma(1, found.df / 2) == pytest.approx(logs.var(ddof=1) - special.polygamma(1, 2))
    half = found.df / 2
    assert np.log(found.variance) == pytest.approx(logs.mean() + special.digamma(half) - np.log(half))


def test_rows_alike_share_one_variance_and_rows_alone_keep_theirs() -> None:
    alike = variance.moderated(np.array([[0.0, 1.0, 2.0], [5.0, 6.0, 7.0], [1.0, 2.0, 3.0]]))
    assert np.isinf(alike.prior.df)
    assert variance.moderated(np.array([[0.0, 1.0, 2.0]])).prior.df == 0


def test_a_noisy_row_keeps_its_own_variance_and_its_own_degrees_of_freedom() -> None:
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(12, 5))
    rows[3] *= 20
    found = variance.moderated(rows)
    assert found.variance[3] == pytest.approx(rows[3].var(ddof=1))
    assert found.df[3] == 4
    assert (found.variance >= rows.var(1, ddof=1) - 1e-12).all()
    calm = np.delete(rows, 3, 0)
    assert_allclose(np.delete(found.variance, 3), variance.moderated(calm).variance, rtol=0.6)


def test_one_collapsed_run_takes_no_power_from_the_other_rows() -> None:
    rng = np.random.default_rng(5)
    rows = 1.5 + 0.4 * rng.normal(size=(40, 5))
    before = (effects(rows).p_holm < 0.05).mean()
    rows[0, 0] -= 60
    after = effects(rows).p_holm < 0.05
    assert before > 0.9 and after[1:].mean() > 0.8 and not after[0]


def test_an_exploratory_row_of_three_noisy_seeds_is_judged_by_its_own_variance() -> None:
    """The committed case: three seeds of 24, 14, 72 against 5, 5, 16 had an interval of [+4, +52]."""
    quiet = np.array([[1.0, 0.5, 0.8], [0.2, 0.3, 0.1]])
    found = effects(np.vstack([[19.0, 9.0, 56.0], quiet]))
    own = stats.ttest_1samp([19.0, 9.0, 56.0], 0)
    assert found.p[0] == pytest.approx(own.pvalue) and found.p[0] > 0.15
    assert found.low[0] < -30 and np.isnan(found.p_holm).all()


def test_an_exploratory_row_enters_no_family() -> None:
    rng = np.random.default_rng(6)
    firm = rng.normal(0.5, 1, (6, 5))
    few = np.full((4, 5), NAN)
    few[:, :3] = rng.normal(size=(4, 3))
    together = effects(np.vstack([firm, few]))
    assert_allclose(together.p_holm[:6], holm(together.p[:6]))
    assert np.isnan(together.p_holm[6:]).all()
    assert_array_equal(together.family, [6] * 6 + [4] * 4)


def test_rows_of_two_families_are_corrected_apart() -> None:
    rng = np.random.default_rng(7)
    rows = rng.normal(0.8, 1, (9, 5))
    rows[4, 2:] = NAN
    kinds = [False, True, False, True, False, False, True, False, False]
    found = effects(rows, families=kinds)
    own = np.array(kinds)
    assert_allclose(found.p_holm[own], holm(found.p[own]))
    assert_allclose(found.p_holm[~own], holm(np.where(found.pairs[~own] >= 5, found.p[~own], NAN)))
    assert_array_equal(found.family, [5, 3, 5, 3, 1, 5, 3, 5, 5])
    outside = (found.low >= 0) | (found.high <= 0)
    assert_array_equal(outside[~np.isnan(found.p_holm)], (found.p_holm < 0.05)[~np.isnan(found.p_holm)])


def test_the_resolution_of_the_test_set_is_the_least_variance() -> None:
    still = np.array([[1.0, 1.0, 1.0, 1.0, 1.0]])
    assert np.isnan(effects(still).low[0])
    found = effects(still, floor=1.0**2 / 6)  # 100 test images
    assert found.sd[0] == pytest.approx(6**-0.5) and found.low[0] < 1 < found.high[0]


def test_one_pair_gives_a_mean_and_no_interval() -> None:
    alone = effects(np.array([[0.5], [0.7]]))
    assert_array_equal(alone.mean, [0.5, 0.7])
    assert np.isnan([alone.low, alone.high, alone.p, alone.p_holm]).all()
    among = effects(np.array([[0.5, NAN, NAN], [0.7, 0.9, 0.2]]), least=2)
    assert np.isnan([among.low[0], among.p[0], among.p_holm[0]]).all()
    assert not np.isnan([among.low[1], among.p[1], among.p_holm[1]]).any()


def test_no_pair_gives_nothing_and_disturbs_no_other_row() -> None:
    differences = np.array([[0.7, 0.9, 0.2], [NAN, NAN, NAN]])
    with_empty, without = effects(differences, least=2), effects(differences[:1], least=2)
    assert np.isnan([with_empty.mean[1], with_empty.low[1], with_empty.p[1]]).all()
    assert (with_empty.low[0], with_empty.p_holm[0]) == (without.low[0], without.p_holm[0])
    assert effects(np.empty((0, 3))).mean.size == 0
    assert np.isnan(effects(np.empty((2, 0))).mean).all()


def test_a_table_is_the_same_in_any_order_and_among_others() -> None:
    differences = np.random.default_rng(1).normal(size=(3, 6, 5))
    differences[0, 2, 1] = NAN
    order = [3, 1, 5, 0, 2, 4]
    found, turned = effects(differences[0]), effects(differences[0][order][:, [2, 0, 3, 1, 4]])
    assert_allclose(turned.p_holm, found.p_holm[order])
    assert_allclose(turned.high, found.high[order])
    assert_allclose(effects(differences).low[0], found.low)


def test_an_interval_excludes_zero_where_and_only_where_holm_does() -> None:
    rng = np.random.default_rng(2)
    found = effects(rng.normal(0.9, 1, (400, 10, 5)) * np.exp(0.5 * rng.normal(size=(400, 10, 1))))
    outside = (found.low >= 0) | (found.high <= 0)
    assert 0.05 < outside.mean() < 0.8
    assert_array_equal(outside, found.p_holm < 0.05)
    assert (found.low == 0).any()  # rows that only a later step of Holm's shows


def test_the_interval_of_a_mean_is_the_t_interval_of_scipy() -> None:
    scores = [75.2, 75.6, 75.5, 74.9]
    known = stats.t.interval(0.95, 3, np.mean(scores), stats.sem(scores))
    assert_allclose(mean_interval(scores), [np.mean(scores), *known])
    assert mean_interval([75.2]) == (75.2, None, None)


def test_holm_by_hand() -> None:
    assert_allclose(holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])
    assert_allclose(holm(np.array([0.01, NAN, 0.03])), [0.02, NAN, 0.03])
    assert_allclose(holm(np.array([0.9, 0.8])), [1.0, 1.0])
    assert_allclose(holm(np.array([[0.01, 0.04], [NAN, 0.04]])), [[0.02, 0.04], [NAN, 0.04]])
    assert holm(np.array([])).size == 0


def test_ranks_have_intervals_among_all_rows_and_few_seeds_have_none() -> None:
    rng = np.random.default_rng(8)
    luck = rng.normal(0, 3, 6)
    scores = np.array([[0.0], [0.1], [9.0], [-9.0]]) + luck + 0.5 * rng.normal(size=(4, 6))
    best, *_ = found = rank_intervals(scores[[2, 0, 1, 3]])
    assert best == (1, 1, 1) and found[3] == (4, 4, 4)
    assert {found[1][1:], found[2][1:]} == {(2, 3)}  # type: ignore[index]
    scores[1, :2] = NAN
    assert rank_intervals(scores)[1] is None
    assert rank_intervals(scores[:, :4]) == [None] * 4
    assert rank_intervals(scores[:1]) == [None]


@pytest.mark.parametrize(("difference", "pairs"), [(0.5, 34), (0.8, 15), (1.0, 10)])
def test_seeds_needed_are_those_of_the_power_tables(difference: float, pairs: int) -> None:
    """Cohen's d for one sample, two-sided 5 %, power 80 %; so many degrees of freedom leave no range."""
    ((low, high),) = power.needed(np.array([3.0]), np.array([1e9]), 3 * difference, np.array([1]))  # type: ignore[misc]
    assert low == high == pairs


def test_seeds_needed_are_a_range_that_grows_with_the_rows_and_ends_in_words() -> None:
    sd, df = np.array([1.0, 1.0, 1.0]), np.array([4.0, 4.0, 4.0])
    one, many, far = power.needed(sd, df, 1.0, np.array([1, 40, 1]))
    assert one[0] < 10 < one[1]  # type: ignore[index,operator]
    assert many[0] > one[0]  # type: ignore[index,operator]
    assert power.needed(sd, df, 0.01, np.array([1, 1, 1])) == [(None, None)] * 3
    assert power.needed(np.array([NAN]), np.array([NAN]), 1.0, np.array([1])) == [None]
    assert far == one


def test_seeds_needed_do_find_the_difference_that_often() -> None:
    """For one row of four whose standard deviation is known to be 1, by its own variance."""
    rng = np.random.default_rng(3)
    ((needed, _),) = power.needed(np.array([1.0]), np.array([1e9]), 1.0, np.array([4]))  # type: ignore[misc]
    truth = np.array([[0.0], [0.0], [0.0], [1.0]])
    noise = (rng.normal(size=(2000, 4, needed)) - rng.normal(size=(2000, 1, needed))) / np.sqrt(2)  # type: ignore[arg-type]
    hits = effects(truth + noise).p_holm[:, 3] < 0.05
    assert 0.75 < hits.mean() < 0.9
