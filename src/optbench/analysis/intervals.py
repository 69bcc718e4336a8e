"""Intervals and tests that hold for a handful of seeds.

The t interval keeps its level for small samples of roughly normal values; the bootstrap does not below some 20 runs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from optbench.analysis.order_statistics import SPREAD_DEGREES

#: fewest pairs with which a two-sided sign-flip test can reach 0.05: 2 / 2**6 = 0.031
EXACT_TEST_SEEDS = 6

_ENUMERATED = 16  # maximum number of pairs for which all 2**n sign patterns are evaluated


@dataclass(frozen=True)
class Estimate:
    """A mean with its two-sided interval; NaN where n is too small."""

    n: int
    mean: float
    low: float
    high: float
    std: float  # sample standard deviation (n - 1)


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences a - b, its interval, and two-sided p-values (NaN where n is too small)."""

    n: int
    mean: float
    low: float
    high: float
    p: float  # paired t test
    sign_flip_p: float  # exact, from 6 pairs on


def t_interval(
    values: Sequence[float],
    level: float = 0.95,
    within: tuple[float, float] = (-math.inf, math.inf),
    shared_variance: float = 0.0,
) -> Estimate:
    """Return mean +- t(n - 1) x std / sqrt(n). One value has no interval; none has no mean.

    `within` is the range of possible values: the interval is clipped to it, which does not reduce its coverage.
    `shared_variance` is that of what all values share, such as settings selected by one tuning study (`variance_of_best`).
    """
    n = len(values)
    if n == 0:
        return Estimate(0, math.nan, math.nan, math.nan, math.nan)
    mean, std = _moments(values)
    if n == 1:
        return Estimate(1, mean, math.nan, math.nan, math.nan)
    error, degrees = _standard_error(std, n, shared_variance)
    half = _t_quantile(degrees, level) * error
    return Estimate(n, mean, max(mean - half, within[0]), min(mean + half, within[1]), std)


@lru_cache(maxsize=1000)
def _t_quantile(degrees: float, level: float) -> float:
    """Return the quantile of Student's t that bounds a two-sided interval."""
    return float(stdtrit(degrees, (1 + level) / 2))


def _standard_error(std: float, n: int, shared_variance: float) -> tuple[float, float]:
    """Return the standard error of a mean and its degrees of freedom, by Welch (1947) and Satterthwaite (1946)."""
    of_mean = std / math.sqrt(n)
    if shared_variance == 0:
        return of_mean, n - 1
    total = of_mean**2 + shared_variance
    return math.sqrt(total), total**2 / (of_mean**4 / (n - 1) + shared_variance**2 / SPREAD_DEGREES)


def _moments(values: Sequence[float]) -> tuple[float, float]:
    """Return the exactly rounded mean and sample standard deviation, equal to those of `statistics` but several times faster:
    floats are integer multiples of a power of two.
    """
    n = len(values)
    if not all(map(math.isfinite, values)):
        return statistics.mean(values), statistics.stdev(values) if n > 1 else math.nan
    ratios = [value.as_integer_ratio() for value in values]
    unit = max(denominator for _, denominator in ratios)
    whole = [numerator * (unit // denominator) for numerator, denominator in ratios]
    total = sum(whole)
    if n == 1:
        return total / unit, math.nan
    return total / (unit * n), _root(n * sum(w * w for w in whole) - total * total, n * (n - 1) * unit * unit)


def _root(numerator: int, denominator: int) -> float:
    """Return the exactly rounded square root of a ratio, from its integer root to about 109 bits with a sticky bit."""
    shift = (numerator.bit_length() - denominator.bit_length() - 109) // 2
    up, down = (0, 2 * shift) if shift >= 0 else (-2 * shift, 0)
    n, m = numerator << up, denominator << down
    root = math.isqrt(n // m)
    root |= root * root * m != n
    return float(root << shift) if shift >= 0 else root / (1 << -shift)


def paired_difference(
    a: Sequence[float], b: Sequence[float], level: float = 0.95, shared_variance: float = 0.0
) -> Difference:
    """Return the interval and p of a[i] - b[i] over common seeds, by the paired t test, which assumes normal differences.

    If all differences are equal, the t test is not valid (it would claim certainty from two seeds): p is
    then that of the sign-flip test, 2 / 2**n, or 1 if they are all zero. `shared_variance` as in `t_interval`, of both sides; there
    is no sign-flip test with it, since all pairs share it.
    """
    differences = [x - y for x, y in zip(a, b, strict=True)]
    estimate = t_interval(differences, level, shared_variance=shared_variance)
    n = estimate.n
    exact = sign_flip_p(np.array(differences)) if shared_variance == 0 else math.nan
    if n < 2:
        return Difference(n, estimate.mean, math.nan, math.nan, math.nan, exact)
    rounding = 1e-9 * max(map(abs, (*a, *b)))
    if shared_variance == 0 and max(differences) - min(differences) <= rounding:
        p = 1.0 if abs(estimate.mean) <= rounding else 2.0 ** (1 - n)
        return Difference(n, estimate.mean, estimate.mean, estimate.mean, p, exact)
    error, degrees = _standard_error(estimate.std, n, shared_variance)
    p = float(2 * stdtr(degrees, -abs(estimate.mean / error)))
    return Difference(n, estimate.mean, estimate.low, estimate.high, p, exact)


def sign_flip_p(differences: npt.NDArray[np.float64]) -> float:
    """Return the two-sided p of the sign-flip test that the mean is zero; NaN for fewer than 6 pairs, which cannot reach 0.05.

    Exact up to 16 pairs; beyond, by the normal approximation of the flipped sum (variance: the sum of squares).
    """
    n = len(differences)
    if n < EXACT_TEST_SEEDS:
        return math.nan
    observed = abs(float(differences.sum()))
    if n > _ENUMERATED:
        spread = float(np.sqrt(np.square(differences).sum()))
        return math.erfc(observed / spread / math.sqrt(2)) if spread else 1.0
    slack = 1e-9 * np.abs(differences).sum()  # sums that differ by rounding only are ties
    return float((np.abs(_signs(n) @ differences) >= observed - slack).mean())


@lru_cache(maxsize=4)
def _signs(n: int) -> npt.NDArray[np.float64]:
    """Return all sign patterns that start with +1, shape (2**(n - 1), n); the others are their negatives."""
    bits = (np.arange(2 ** (n - 1))[:, None] >> np.arange(n)) & 1
    return 1.0 - 2.0 * np.roll(bits, 1, axis=1)


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values with Holm's step-down adjustment (Scandinavian Journal of Statistics 6, 1979); NaN is not counted."""
    known = sorted((value, index) for index, value in enumerate(p) if not math.isnan(value))
    adjusted = [math.nan] * len(p)
    least = 0.0
    for rank, (value, index) in enumerate(known):
        least = max(least, min(1.0, value * (len(known) - rank)))
        adjusted[index] = least
    return adjusted
