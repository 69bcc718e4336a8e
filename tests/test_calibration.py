"""Calibration, on simulated data with a known truth: false positives, coverage and power at the seeds people use.

Bands are exact binomial at 99.9 %, around the nominal rate where it can hold exactly, above it where a test is conservative.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from optbench.analysis.censoring import kaplan_meier, median_interval, restricted_difference
from optbench.analysis.compare import all_pairs, top_group
from optbench.analysis.intervals import paired_difference, sign_flip_p, t_interval
from optbench.analysis.power import power

SEEDS = (3, 5, 10)
STUDIES = 1000
ALPHA = 0.05


def band(rate: float, studies: int = STUDIES) -> tuple[float, float]:
    low, high = binom.interval(0.999, studies, rate)
    return low / studies, high / studies


def draws(
    n: int, studies: int = STUDIES, correlation: float = 0.5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Final metrics of two equal optimizers: seeds share a part of their luck, as pairing supposes."""
    random = np.random.default_rng(1000 * seed + n)
    shared = random.normal(0, math.sqrt(correlation), (studies, n))
    own = random.normal(0, math.sqrt(1 - correlation), (2, studies, n))
    return 0.95 + 0.01 * (shared + own[0]), 0.95 + 0.01 * (shared + own[1])


@pytest.mark.parametrize("n", SEEDS)
def test_of_a_a_comparisons_the_nominal_share_is_significant(n: int) -> None:
    low, high = band(ALPHA)
    found = np.mean([paired_difference(a, b).p < ALPHA for a, b in zip(*draws(n), strict=True)])
    assert low <= found <= high


@pytest.mark.parametrize("n", SEEDS)
def test_in_a_a_studies_of_four_entries_some_pair_differs_at_most_at_the_nominal_rate(n: int) -> None:
    """The table's own way: all pairs, Holm-adjusted; whoever is left out of the top group is a false positive."""
    studies = 300
    random = np.random.default_rng(n)
    wrong = 0
    for _ in range(studies):
        values = pd.DataFrame(random.normal(0.95, 0.01, (n, 4)), columns=list("ABCD"))
        wrong += False in top_group(all_pairs(values), higher_is_better=True).values()
    assert wrong / studies <= band(ALPHA, studies)[1]


@pytest.mark.slow
@pytest.mark.parametrize("n", SEEDS)
def test_1000_a_a_studies_of_four_entries_keep_the_rate(n: int) -> None:
    random = np.random.default_rng(100 + n)
    wrong = 0
    for _ in range(STUDIES):
        values = pd.DataFrame(random.normal(0.95, 0.01, (n, 4)), columns=list("ABCD"))
        wrong += False in top_group(all_pairs(values), higher_is_better=True).values()
    assert wrong / STUDIES <= band(ALPHA)[1]


@pytest.mark.parametrize("n", [6, 10])
def test_the_exact_test_is_at_or_under_its_rate_also_on_skewed_censored_times(n: int) -> None:
    random = np.random.default_rng(n)
    times = np.minimum(np.ceil(random.lognormal(2, 0.5, (2, STUDIES, n))), 12.0)
    found = np.mean([sign_flip_p(a - b) < ALPHA for a, b in zip(*times, strict=True)])
    assert found <= band(ALPHA)[1]


@pytest.mark.parametrize("n", [3, 5])
def test_under_six_seeds_the_exact_test_claims_nothing(n: int) -> None:
    assert math.isnan(sign_flip_p(np.arange(1.0, n + 1)))


@pytest.mark.parametrize("n", SEEDS)
def test_t_intervals_cover_the_truth_at_their_rate(n: int) -> None:
    a, b = draws(n, seed=1)
    low, high = band(1 - ALPHA)
    of_means = [t_interval(row.tolist()) for row in a]
    of_differences = [paired_difference(x, y) for x, y in zip(a, b, strict=True)]
    assert low <= np.mean([found.low <= 0.95 <= found.high for found in of_means]) <= high
    assert low <= np.mean([found.low <= 0 <= found.high for found in of_differences]) <= high


@pytest.mark.parametrize("n", [6, 10, 20])
@pytest.mark.parametrize(
    "budget", [math.inf, 12.0, 8.0], ids=["uncensored", "some censored", "many censored"]
)
def test_intervals_of_the_median_time_cover_it_with_and_without_censoring(n: int, budget: float) -> None:
    """Passages are seen at evaluations only, one a unit of time. The true median of the lognormal is e^2 = 7.39."""
    random = np.random.default_rng(n)
    found = []
    for _ in range(STUDIES):
        passage = random.lognormal(2, 0.5, n)
        seen = np.ceil(passage)
        reached = seen <= budget
        high = np.where(reached, seen, budget)
        low = np.where(reached, seen - 1, budget)
        interval = median_interval(low.tolist(), high.tolist(), reached.tolist())
        found.append(interval.low <= math.exp(2) <= interval.high)
    assert np.mean(found) >= band(1 - ALPHA)[0]


@pytest.mark.parametrize("n", [3, 5])
def test_under_six_seeds_no_interval_of_a_median_is_claimed(n: int) -> None:
    assert median_interval([0.0] * n, [1.0] * n, [True] * n).reason == "needs 6 seeds"


@pytest.mark.parametrize("censored", [False, True])
def test_the_band_of_the_survival_curve_covers_it(censored: bool) -> None:
    """At 20 trials and a time at which most of them still count; the band is asymptotic, so it is held to within two points."""
    random = np.random.default_rng(7)
    found = []
    for _ in range(STUDIES):
        times = random.exponential(1.0, 20)
        ends = random.uniform(0.5, 4.0, 20) if censored else np.full(20, 10.0)
        curve = kaplan_meier(np.minimum(times, ends).tolist(), (times <= ends).tolist())
        at = curve[curve["time"] <= 0.7].iloc[-1]
        found.append(at["low"] <= math.exp(-0.7) <= at["high"])
    assert np.mean(found) >= 0.93


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_permutation_test_of_restricted_means_keeps_its_rate(n: int) -> None:
    studies = 400
    random = np.random.default_rng(n)
    times = np.minimum(np.ceil(random.lognormal(2, 0.5, (2, studies, n))), 12.0)
    found = [restricted_difference(a, a < 12, b, b < 12, 12.0).p for a, b in zip(*times, strict=True)]
    assert np.mean(np.array(found) < ALPHA) <= band(ALPHA, studies)[1]


@pytest.mark.parametrize("n", SEEDS)
def test_power_is_that_of_the_plan(n: int, record_property: pytest.RecordProperty) -> None:
    """And it is reported: seen at 3, 5 and 10 seeds for a true difference of one and of two standard deviations."""
    for effect in (1.0, 2.0):
        a, b = draws(n, correlation=0.5, seed=2)
        seen = np.mean([paired_difference(x + 0.01 * effect, y).p < ALPHA for x, y in zip(a, b, strict=True)])
        planned = power(n, 0.01, 0.01 * effect)  # the difference of two halves of the variance has all of it
        low, high = band(planned)
        assert low <= seen <= high
        record_property(f"power at {n} seeds, {effect:g} standard deviations", round(float(seen), 3))
