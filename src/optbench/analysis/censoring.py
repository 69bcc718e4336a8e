"""Time to target if some trials never reach it: Kaplan-Meier curve, its median with an interval, restricted mean.

Kaplan and Meier, Journal of the American Statistical Association 53 (1958). A trial that did not reach the target is
censored at its budget: never dropped, never averaged as if it had reached the target.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import bdtr, ndtri

_EXCHANGES = 10_000


@dataclass(frozen=True)
class MedianInterval:
    """An interval. `high` is infinite if the budget ended first; both are NaN, with the reason, if there is no interval."""

    low: float
    high: float
    reason: str = ""


@dataclass(frozen=True)
class RestrictedDifference:
    """Difference of two restricted means, a - b, and the two-sided p of a permutation test.

    Both are NaN if a side is empty, or if no trial of either side reached the target: then no time was observed.
    """

    mean: float
    p: float


def kaplan_meier(times: Sequence[float], reached: Sequence[bool], level: float = 0.95) -> pd.DataFrame:
    """Return the share of trials that have not reached the target after each time. Columns: time, at_risk, events, survival, low, high.

    The pointwise band is Greenwood's on the scale of log(-log S), which stays within 0 and 1 (Kalbfleisch and Prentice, The
    Statistical Analysis of Failure Time Data, 1980); it is missing where all or none have reached the target.
    """
    moments, at_risk, events, survival = _curve(times, reached)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(np.cumsum(events / (at_risk * (at_risk - events)))) / np.log(survival)
        between = (survival > 0) & (survival < 1)
        ends = [
            np.where(between, survival ** np.exp(sign * ndtri((1 + level) / 2) * np.abs(spread)), np.nan)
            for sign in (1, -1)
        ]
    curve = {"time": moments, "at_risk": at_risk, "events": events, "survival": survival}
    return pd.DataFrame(curve | {"low": ends[0], "high": ends[1]})


def _curve(
    times: Sequence[float], reached: Sequence[bool]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the curve without its band: times, at risk, events, survival."""
    observed = np.asarray(times, dtype=float)
    event = np.asarray(reached, dtype=bool)
    moments, places = np.unique(observed, return_inverse=True)
    here = np.bincount(places, minlength=len(moments))
    at_risk = here[::-1].cumsum()[::-1]
    events = np.bincount(places[event], minlength=len(moments))
    survival = np.cumprod(1.0 - events / at_risk) if len(moments) else np.array([])
    return moments, at_risk, events, survival


def median(times: Sequence[float], reached: Sequence[bool]) -> float:
    """Return the Kaplan-Meier median: the time at which the curve falls below one half.

    Where the curve is exactly one half over a stretch, the middle of that stretch, as R's `survfit` and SAS do; without censoring
    this is the usual median. NaN if at most half of the trials ever reached the target.
    """
    if 2 * sum(map(bool, reached)) <= len(reached):
        return math.nan
    moments, _, events, survival = _curve(times, reached)
    below = moments[survival < 0.5 - 1e-12]
    if not len(below):
        return math.nan
    at_half = moments[(events > 0) & (np.abs(survival - 0.5) <= 1e-12)]
    return float(at_half[0] + below[0]) / 2 if len(at_half) else float(below[0])


def restricted_mean(times: Sequence[float], reached: Sequence[bool], tau: float) -> float:
    """Return the area under the Kaplan-Meier curve from 0 to `tau`: the mean time before the target within that budget."""
    moments, _, _, survival = _curve(times, reached)
    inside = moments < tau
    edges = np.concatenate([[0.0], moments[inside], [tau]])
    heights = np.concatenate([[1.0], survival[inside]])
    return float(np.sum(np.diff(edges) * heights))


def restricted_difference(
    times_a: Sequence[float],
    reached_a: Sequence[bool],
    times_b: Sequence[float],
    reached_b: Sequence[bool],
    tau: float,
) -> RestrictedDifference:
    """Return the restricted mean of a minus that of b, with the p of a permutation test.

    Exact for up to 10,000 permutations (252 for five trials per side), otherwise 10,000 random ones with a fixed seed. The
    test is valid at any n, unlike the bootstrap (Horiguchi and Uno, Statistics in Medicine 39, 2020).
    """
    times = np.concatenate([np.asarray(times_a, dtype=float), np.asarray(times_b, dtype=float)])
    there = np.concatenate([np.asarray(reached_a, dtype=bool), np.asarray(reached_b, dtype=bool)])
    n, size = len(times), len(times_a)
    if size == 0 or size == n or not there.any():
        return RestrictedDifference(math.nan, math.nan)
    sides = _exchanges(n, size)
    mean = float(
        _differences(times, there, sides[:8], tau)[0]
    )  # a single row would be summed in another order
    exchanged = _mean_differences if bool((there | (times >= tau)).all()) else _differences
    chunks = np.array_split(sides, 1 + len(sides) * n // 500_000)
    differences = np.concatenate([exchanged(times, there, part, tau) for part in chunks])
    p = float((np.abs(differences) >= abs(mean) - 1e-9 * tau).mean())
    return RestrictedDifference(mean, p)


@lru_cache(maxsize=2)
def _exchanges(n: int, size: int) -> npt.NDArray[np.float32]:
    """Return one row per permutation: 1 for trials of the first side, otherwise 0. The first row is the observed assignment."""
    if math.comb(n, size) <= _EXCHANGES:
        chosen = np.array(list(itertools.combinations(range(n), size)))
        sides = np.zeros((len(chosen), n), dtype=np.float32)
        np.put_along_axis(sides, chosen, 1, axis=1)
        return sides
    random = np.random.default_rng(0)
    sides = np.zeros((_EXCHANGES, n), dtype=np.float32)
    sides[0, :size] = 1
    for part in np.array_split(sides[1:], 1 + _EXCHANGES * n // 500_000):  # views: filled in place
        # The places of the `size` least: which they are, not their order.
        drawn = np.argpartition(random.random(part.shape), size - 1, axis=1)[:, :size]
        np.put_along_axis(part, drawn, 1, axis=1)
    return sides


def _mean_differences(
    times: npt.NDArray[np.float64], there: npt.NDArray[np.bool_], sides: npt.NDArray[np.float32], tau: float
) -> npt.NDArray[np.float64]:
    """Return the same as `_differences` without censoring before `tau`: the area under each curve is the mean of the times."""
    within = np.minimum(times, tau)
    first = sides.astype(np.float64) @ within
    size = float(sides[0].sum())
    found: npt.NDArray[np.float64] = first / size - (within.sum() - first) / (len(times) - size)
    return found


def _differences(
    times: npt.NDArray[np.float64], there: npt.NDArray[np.bool_], sides: npt.NDArray[np.float32], tau: float
) -> npt.NDArray[np.float64]:
    """Return the restricted mean of the first side minus that of the other, one per row of `sides`."""
    moments = np.unique(times[there & (times < tau)])
    steps = np.diff(np.concatenate([[0.0], moments, [tau]]))
    at_risk = times[:, None] >= moments
    arriving = there[:, None] & (times[:, None] == moments)
    # Counts are exact in single precision, and counting is a product of matrices.
    risk, arrived = ((sides @ table.astype(np.float32)).astype(np.float64) for table in (at_risk, arriving))

    def areas(arrived: npt.NDArray[np.float64], risk: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        survival = np.cumprod(1 - arrived / np.maximum(risk, 1), axis=1)
        found: npt.NDArray[np.float64] = steps[0] + survival @ steps[1:]
        return found

    return areas(arrived, risk) - areas(arriving.sum(axis=0) - arrived, at_risk.sum(axis=0) - risk)


def median_interval(
    low: Sequence[float], high: Sequence[float], reached: Sequence[bool], level: float = 0.95
) -> MedianInterval:
    """Return a distribution-free interval for the median passage time, from order statistics (binomial).

    `low` and `high` bracket the passage of each trial: the last evaluation before it, and the first after it; the interval covers
    the brackets. The passage of a censored trial is after its `low`. The minimum n for 95 % is 6, where it is the whole
    range (level 96.9 %).
    """
    n = len(low)
    rank = _rank(n, level)
    if rank == 0:
        return MedianInterval(math.nan, math.nan, f"needs {_least(level)} seeds")
    ends = [end if there else math.inf for end, there in zip(high, reached, strict=True)]
    return MedianInterval(float(sorted(low)[rank - 1]), float(sorted(ends)[n - rank]))


def _rank(n: int, level: float) -> int:
    """Return the largest k for which the k-th smallest and k-th largest of n values contain the median with that probability."""
    rank = 0
    while 2 * (rank + 1) <= n and 1 - 2 * bdtr(rank, n, 0.5) >= level:
        rank += 1
    return rank


def _least(level: float) -> int:
    return next(n for n in range(2, 1000) if _rank(n, level))
