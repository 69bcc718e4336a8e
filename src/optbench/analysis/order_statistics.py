"""The best of k trials, estimated from n exchangeable trials: its expectation, its variance, and an interval."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, stdtrit

Array = npt.NDArray[np.float64]

#: degrees of freedom of the variance of the best of half of the trials: few, since a few of the best trials determine it
SPREAD_DEGREES = 2


def expected_best(scores: Array, k: int) -> float:
    """Return the expected best of k different points drawn at random from the grid: sum over j of C(j-1, k-1) / C(B, k) x v_(j).

    The unbiased estimator of expected validation performance (Dodge et al., 1909.03004) by Tang et al., 2004.13705; on a grid, it
    is the expected best of points drawn uniformly from this grid.
    """
    return float(np.sum(_weights_of_best(len(scores), k) * np.sort(scores)))


@lru_cache(maxsize=1000)
def _weights_of_best(n: int, k: int) -> Array:
    """Return the weights of the ordered scores of n points in the expected best of k."""
    j = np.arange(1, n + 1, dtype=float)
    weights = np.exp(_log_choose(j - 1, k - 1) - _log_choose(float(n), k))
    return np.where(j >= k, weights, 0.0)


def tunability(expected: Array) -> float:
    """Return the weighted mean of the expected best after 1, 2, ..., T trials, with weights T, T-1, ..., 1.

    The tunability of Sivaprasad et al. (1910.11758) with their "early" weights (CPE). The expectation over random orders is exact, where
    they resample.
    """
    weights = np.arange(len(expected), 0, -1, dtype=float)
    return float(np.dot(weights / weights.sum(), expected))


def variance_of_best(values: Array, k: int) -> float:
    """Return the variance of the best of k new trials: half the mean squared difference between two disjoint subsets of k trials.

    `values` (n,) are in the order of selection, worst first; a subset's value is that of its last trial. The mean is over all pairs
    of disjoint subsets, so that the result is unbiased for k up to n/2. There is no unbiased estimate for more: all subsets
    overlap. Raises `ValueError` for k above n/2.
    """
    n = len(values)
    if not 1 <= k <= n // 2:
        raise ValueError(f"expected k from 1 to {n // 2}, half of the trials; found {k}")
    better, other = _pairs_of_subsets(n, k)
    v = values - np.mean(values)
    zeroth, first, second = (_before(other * v**power) for power in (0, 1, 2))
    squares = np.sum(better * (v * v * zeroth - 2 * v * first + second))
    return max(float(squares / np.sum(better * zeroth)), 0.0) / 2


@lru_cache(maxsize=1000)
def _pairs_of_subsets(n: int, k: int) -> tuple[Array, Array]:
    """Return by position the relative numbers of disjoint subsets of k of n trials with their best there: the better, and the other one.

    The better subset has its best at position i, the other one at j < i: C(i-1-k, k-1) x C(j-1, k-1) pairs of subsets.
    """
    position = np.arange(1, n + 1, dtype=float)
    better = np.where(position >= 2 * k, _log_choose(position - 1 - k, k - 1), -math.inf)
    other = np.where(position >= k, _log_choose(position - 1, k - 1), -math.inf)
    return np.exp(better - better.max()), np.exp(other - other.max())


def expected_best_interval(scores: Array, k: int, level: float = 0.95) -> tuple[float, float]:
    """Return an interval of the expected best of k trials, around `expected_best`.

    The variance of a U-statistic of degree k is at most k/n times that of its kernel (Hoeffding 1948, Annals of Mathematical
    Statistics 19, theorem 5.2); that of the kernel is `variance_of_best`, for k above n/2 that of n/2 trials: the best of more
    trials varies less unless scores have heavy tails towards the best. Student's t with the number of disjoint subsets minus 1
    (at least `SPREAD_DEGREES`) degrees of freedom.
    Percentiles of a bootstrap cover the truth in 5 of 10 studies for k = n, since no resample is better than the best trial.
    """
    n = len(scores)
    half = n // 2
    variance = k / n * variance_of_best(np.sort(scores), min(k, half))
    degrees = max(SPREAD_DEGREES, n // k - 1)
    middle = expected_best(scores, k)
    margin = float(stdtrit(degrees, (1 + level) / 2)) * math.sqrt(variance)
    return middle - margin, middle + margin


def _before(values: Array) -> Array:
    """Return the sums of all earlier values."""
    sums: Array = np.cumsum(values) - values
    return sums


def _log_choose(n: Any, k: float) -> Any:
    with np.errstate(invalid="ignore", divide="ignore"):
        return gammaln(n + 1) - gammaln(k + 1) - gammaln(np.maximum(n - k, 0) + 1)
