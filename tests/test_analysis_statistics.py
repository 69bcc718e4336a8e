"""Intervals, tests and censoring: hand-computed cases, scipy's answers, and simulations with a known truth."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from optbench.analysis.censoring import (
    kaplan_meier,
    median,
    median_interval,
    restricted_difference,
    restricted_mean,
)
from optbench.analysis.compare import against, all_pairs, top_group
from optbench.analysis.intervals import holm, paired_difference, sign_flip_p, t_interval

# --- intervals and tests


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_the_t_interval_is_scipys(n):
    values = np.random.default_rng(n).normal(3, 2, n)
    ours, theirs = t_interval(list(values)), stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert (ours.mean, ours.std) == pytest.approx((values.mean(), values.std(ddof=1)))


def test_one_value_has_a_mean_and_no_interval():
    estimate = t_interval([0.5])
    assert estimate.mean == 0.5
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.std)
    assert math.isnan(t_interval([]).mean)


def test_equal_values_have_exactly_their_value_as_mean_and_no_spread():
    assert t_interval([0.95] * 3).mean == 0.95
    assert t_interval([0.95] * 3).std == 0


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_the_paired_difference_is_scipys(n):
    a, b = np.random.default_rng(n).normal(0, 1, (2, n))
    ours, theirs = paired_difference(list(a), list(b)), stats.ttest_rel(a, b)
    interval = theirs.confidence_interval(0.95)
    assert (ours.p, ours.low, ours.high) == pytest.approx((theirs.pvalue, interval.low, interval.high))


@pytest.mark.parametrize(("n", "p"), [(2, 0.5), (3, 0.25), (5, 0.0625), (6, 0.03125)])
def test_a_difference_without_spread_is_no_surer_than_its_signs(n, p):
    found = paired_difference([0.95] * n, [0.93] * n)
    assert found.p == p
    assert found.mean == pytest.approx(0.02)


def test_identical_trials_are_no_difference():
    found = paired_difference([0.9, 0.91, 0.92], [0.9, 0.91, 0.92])
    assert (found.mean, found.p) == (0, 1)


@pytest.mark.parametrize("n", [6, 9, 12])
def test_the_sign_flip_test_is_scipys_permutation_test(n):
    differences = np.random.default_rng(n).normal(0.5, 1, n)
    theirs = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert sign_flip_p(differences) == pytest.approx(theirs.pvalue)


def test_the_sign_flip_test_states_nothing_under_six_pairs():
    assert math.isnan(sign_flip_p(np.ones(5)))
    assert sign_flip_p(np.ones(6)) == 2 / 2**6


def test_the_sign_flip_test_of_many_pairs_is_near_the_exact_one():
    differences = np.random.default_rng(1).normal(0.5, 1, 20)
    signs = np.array(list(itertools.product([1, -1], repeat=19)))
    sums = np.abs(differences[0] + signs @ differences[1:])
    assert sign_flip_p(differences) == pytest.approx((sums >= abs(differences.sum())).mean(), abs=0.01)
    assert sign_flip_p(np.zeros(20)) == 1


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, math.nan]) == pytest.approx([0.03, 0.06, 0.06, math.nan], nan_ok=True)
    assert holm([0.5, 0.9]) == [1.0, 1.0]


# --- calibration, on simulated data with a known truth


def within(count: int, n: int, p: float) -> bool:
    """Whether a count lies in the central 99.9 % of the binomial distribution."""
    return stats.binom.ppf(0.0005, n, p) <= count <= stats.binom.ppf(0.9995, n, p)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_t_intervals_cover_the_truth_at_their_level(n):
    samples = np.random.default_rng(n).normal(0.9, 0.01, (2000, n))
    found = [t_interval(sample.tolist()) for sample in samples]
    assert within(sum(each.low <= 0.9 <= each.high for each in found), 2000, 0.95)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_identical_arms_differ_as_often_as_the_level(n):
    pairs = np.random.default_rng(n).normal(0.9, 0.01, (2000, 2, n))
    false = sum(paired_difference(a.tolist(), b.tolist()).p < 0.05 for a, b in pairs)
    assert within(false, 2000, 0.05)


def test_the_sign_flip_test_is_exact_also_for_skewed_differences():
    pairs = np.random.default_rng(0).exponential(1, (1000, 2, 8))
    false = sum(sign_flip_p(a - b) <= 0.05 for a, b in pairs)
    assert false <= stats.binom.ppf(0.9995, 1000, 0.05)


@pytest.mark.parametrize("tau", [math.inf, 9.0])
@pytest.mark.parametrize("n", [6, 10])
def test_median_intervals_cover_at_least_at_their_level_with_and_without_censoring(n, tau):
    rng = np.random.default_rng(n)
    truth = 8 * math.log(2) ** 0.5
    covered = 0
    for _ in range(1000):
        passage = 8 * rng.weibull(2, n)
        reached = passage <= tau
        high = np.where(reached, np.ceil(passage), tau)
        low = np.where(reached, np.ceil(passage) - 1, tau)
        found = median_interval(low.tolist(), high.tolist(), reached.tolist())
        covered += found.low <= truth <= found.high
    assert covered >= stats.binom.ppf(0.0005, 1000, 0.95)


# --- censoring

# Five trials: reached at 2, 3 and 5, one gave up at 4, one at the budget of 10.
TIMES, REACHED = [2, 3, 4, 5, 10], [True, True, False, True, False]


def test_the_kaplan_meier_curve_by_hand():
    curve = kaplan_meier(TIMES, REACHED)
    assert curve["at_risk"].tolist() == [5, 4, 3, 2, 1]
    assert curve["survival"].tolist() == pytest.approx([4 / 5, 3 / 5, 3 / 5, 3 / 10, 3 / 10])
    assert median(TIMES, REACHED) == 5
    assert restricted_mean(TIMES, REACHED, 10) == pytest.approx(2 + 0.8 + 2 * 0.6 + 5 * 0.3)


def test_the_kaplan_meier_curve_is_scipys():
    rng = np.random.default_rng(0)
    times, reached = rng.integers(1, 12, 40).astype(float), rng.random(40) < 0.7
    theirs = stats.ecdf(stats.CensoredData(uncensored=times[reached], right=times[~reached])).sf
    ours = kaplan_meier(times.tolist(), reached.tolist())
    assert ours["survival"].tolist() == pytest.approx(theirs.evaluate(ours["time"].to_numpy()).tolist())


@pytest.mark.parametrize(("reached", "expected"), [(5, 5.0), (3, 5.0), (2, math.nan), (0, math.nan)])
def test_the_median_is_empty_if_half_or_fewer_reached_the_target(reached, expected):
    times = [5.0] * reached + [10.0] * (4 - min(reached, 4))
    flags = [True] * reached + [False] * (4 - min(reached, 4))
    assert median(times, flags) == pytest.approx(expected, nan_ok=True)


def test_an_interval_is_cut_at_the_ends_of_what_is_possible():
    values = [0.99, 0.999, 0.95]
    free, cut = t_interval(values), t_interval(values, within=(0.0, 1.0))
    assert free.high > 1
    assert (cut.mean, cut.low, cut.high) == (free.mean, free.low, 1.0)


@pytest.mark.parametrize("n", range(1, 9))
def test_the_median_of_uncensored_times_is_the_usual_one(n):
    times = np.random.default_rng(n).integers(1, 9, n).astype(float).tolist()
    assert median(times, [True] * n) == statistics.median(times)


@pytest.mark.parametrize(
    ("times", "censored", "expected"),
    [
        # survfit(Surv(time, status) ~ x, data = aml) in R's package survival
        ([9, 13, 13, 18, 23, 28, 31, 34, 45, 48, 161], [2, 5, 8, 10], 31),
        ([5, 5, 8, 8, 12, 16, 23, 27, 30, 33, 43, 45], [5], 23),
        # survfit(Surv(1:4, c(1, 1, 0, 1)) ~ 1): the curve is exactly 0.5 from 2 to 4
        ([1, 2, 3, 4], [2], 3),
        ([1, 2, 4, 9], [3], 3),
    ],
)
def test_the_median_of_censored_times_is_that_of_survfit(times, censored, expected):
    assert median(times, [place not in censored for place in range(len(times))]) == expected


def test_the_restricted_mean_without_early_censoring_is_a_mean():
    assert restricted_mean([2, 4, 10, 10], [True, True, False, False], 10) == pytest.approx(6.5)


def test_a_median_has_no_interval_under_six_seeds():
    found = median_interval([4] * 5, [5] * 5, [True] * 5)
    assert math.isnan(found.low)
    assert found.reason == "needs 6 seeds"


def test_the_interval_of_six_seeds_is_their_whole_range_with_its_brackets():
    low, high = [4, 5, 6, 7, 8, 9], [5, 6, 7, 8, 9, 10]
    found = median_interval(low, high, [True] * 6)
    assert (found.low, found.high, found.reason) == (4, 10, "")


def test_the_interval_is_open_where_a_censored_trial_bounds_it():
    found = median_interval([4, 5, 6, 7, 8, 10], [5, 6, 7, 8, 9, 10], [True] * 5 + [False])
    assert (found.low, found.high) == (4, math.inf)


# --- groups


def columns(**values: list[float]) -> pd.DataFrame:
    return pd.DataFrame(values)


def test_the_top_group_holds_all_that_is_not_significantly_worse():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.001, (3, 6))
    values = columns(good=0.97 + noise[0], equal=0.9702 + noise[1], bad=0.9 + noise[2])
    assert top_group(all_pairs(values), higher_is_better=True) == {"good": True, "equal": True, "bad": False}
    assert top_group(all_pairs(values), higher_is_better=False) == {
        "good": False,
        "equal": False,
        "bad": True,
    }


def test_with_one_seed_nothing_is_compared():
    pairs = all_pairs(columns(a=[0.9], b=[0.1]))
    assert pairs["p"].isna().all()
    assert top_group(pairs, higher_is_better=True) == {"a": None, "b": None}


def test_pairs_use_the_seeds_that_both_have():
    values = columns(a=[0.9, 0.8, 0.7, math.nan], b=[0.8, 0.75, 0.6, 0.5])
    pair = all_pairs(values).iloc[0]
    assert pair["n"] == 3
    assert pair["difference"] == pytest.approx((0.1 + 0.05 + 0.1) / 3)


def test_a_difference_below_the_evaluation_grid_is_never_significant():
    values = columns(a=[5.0] * 8, b=[5.5] * 8)
    assert all_pairs(values, "sign_flip")["p"].item() < 0.05
    assert all_pairs(values, "sign_flip", resolution=1.0)["p"].item() == 1


@pytest.mark.parametrize("baseline", list("abcd"))
def test_differences_from_a_baseline_are_adjusted_over_all_pairs(baseline):
    noise = np.random.default_rng(3).normal(0, 0.01, (4, 5))
    values = pd.DataFrame({name: 0.9 + noise[i] for i, name in enumerate("abcd")})
    pairs = all_pairs(values)
    found = against(pairs, baseline)
    assert found["a"].tolist() == [name for name in "abcd" if name != baseline]
    for pair in found.to_dict("records"):
        same = pairs[pairs["a"].isin([pair["a"], baseline]) & pairs["b"].isin([pair["a"], baseline])].iloc[0]
        assert pair["p_holm"] == same["p_holm"]
        estimate = t_interval((values[pair["a"]] - values[baseline]).tolist())
        assert (pair["difference"], pair["low"], pair["high"]) == pytest.approx(
            (estimate.mean, estimate.low, estimate.high)
        )


@pytest.mark.filterwarnings("ignore:The confidence interval is undefined")
@pytest.mark.parametrize("seed", range(5))
def test_the_band_of_the_survival_curve_is_scipys(seed):
    random = np.random.default_rng(seed)
    times, reached = np.round(random.exponential(5, 15), 1), random.random(15) < 0.7
    data = stats.CensoredData(uncensored=times[reached], right=times[~reached])
    theirs = stats.ecdf(data).sf.confidence_interval(method="log-log")
    ours = kaplan_meier(times.tolist(), reached.tolist())
    with np.errstate(all="ignore"):
        low, high = theirs.low.evaluate(ours["time"]), theirs.high.evaluate(ours["time"])
    known = ours["low"].notna().to_numpy()
    assert known.any()
    assert ours["low"].to_numpy()[known] == pytest.approx(low[known])
    assert ours["high"].to_numpy()[known] == pytest.approx(high[known])


def test_restricted_means_are_compared_over_all_exchanges_of_trials():
    fast, slow = [1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 10.0]
    arrived, never = [True] * 5, [True] * 4 + [False]
    found = restricted_difference(fast, arrived, slow, never, 10.0)
    assert found.mean == pytest.approx(-5.0)
    assert found.p == pytest.approx(2 / 252)
    assert restricted_difference(slow, never, fast, arrived, 10.0).p == pytest.approx(2 / 252)
    assert restricted_difference(fast, arrived, fast, arrived, 10.0).p == 1


def test_restricted_means_with_censoring_within_the_budget_are_areas_under_the_curve():
    a, b = ([2.0, 4.0, 9.0], [True, False, True]), ([3.0, 5.0, 9.0], [True, True, False])
    found = restricted_difference(*a, *b, 9.0)
    assert found.mean == pytest.approx(restricted_mean(*a, 9.0) - restricted_mean(*b, 9.0))
    assert 0.1 <= found.p <= 1


def test_many_trials_are_exchanged_at_random_and_always_alike():
    random = np.random.default_rng(0)
    a, b = random.exponential(1, 12), random.exponential(3, 12)
    theirs = stats.permutation_test((a, b), lambda x, y: x.mean() - y.mean(), n_resamples=20_000, rng=1)
    ours = [restricted_difference(a, [True] * 12, b, [True] * 12, 100.0).p for _ in range(2)]
    assert ours[0] == ours[1] == pytest.approx(theirs.pvalue, abs=0.02)
