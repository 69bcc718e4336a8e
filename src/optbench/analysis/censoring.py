"""Time to target where some trials never got there: Kaplan-Meier, its median with an interval, the restricted mean.

Kaplan and Meier, Journal of the American Statistical Association 53 (1958). A trial that did not reach the target is
censored at its budget: never dropped, never averaged as if it had arrived.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import bdtr


@dataclass(frozen=True)
class MedianInterval:
    """`high` is infinite where the budget ended first; both are NaN, with the reason, where there is none."""

    low: float
    high: float
    reason: str = ""


def kaplan_meier(times: Sequence[float], reached: Sequence[bool]) -> pd.DataFrame:
    """Share of trials that have not reached the target after each time. Columns: time, at_risk, events, survival."""
    observed = np.asarray(times, dtype=float)
    event = np.asarray(reached, dtype=bool)
    moments = np.unique(observed)
    at_risk = np.array([(observed >= moment).sum() for moment in moments])
    events = np.array([(event & (observed == moment)).sum() for moment in moments])
    survival = np.cumprod(1.0 - events / at_risk) if len(moments) else np.array([])
    return pd.DataFrame({"time": moments, "at_risk": at_risk, "events": events, "survival": survival})


def median(times: Sequence[float], reached: Sequence[bool]) -> float:
    """First time at which at most half are left, NaN if at most half of the trials ever reached it."""
    if 2 * sum(map(bool, reached)) <= len(reached):
        return math.nan
    curve = kaplan_meier(times, reached)
    there = curve[curve["survival"] <= 0.5 + 1e-12]
    return float(there["time"].iloc[0]) if len(there) else math.nan


def restricted_mean(times: Sequence[float], reached: Sequence[bool], tau: float) -> float:
    """Area under the Kaplan-Meier curve from 0 to `tau`: mean time spent before the target within that budget."""
    curve = kaplan_meier(times, reached)
    inside = curve[curve["time"] < tau]
    edges = np.concatenate([[0.0], inside["time"], [tau]])
    heights = np.concatenate([[1.0], inside["survival"]])
    return float(np.sum(np.diff(edges) * heights))


def median_interval(
    low: Sequence[float], high: Sequence[float], reached: Sequence[bool], level: float = 0.95
) -> MedianInterval:
    """Distribution-free interval for the median passage time, from order statistics (binomial).

    `low` and `high` bracket each trial's passage, which was seen at `high` and not yet at `low`; the interval covers
    the brackets. A censored trial's passage lies anywhere after its `low`. The least n that allows 95 % is 6, where it
    is the whole range (level 96.9 %).
    """
    n = len(low)
    rank = _rank(n, level)
    if rank == 0:
        return MedianInterval(math.nan, math.nan, f"needs {_least(level)} seeds")
    ends = [end if there else math.inf for end, there in zip(high, reached, strict=True)]
    return MedianInterval(float(sorted(low)[rank - 1]), float(sorted(ends)[n - rank]))


def _rank(n: int, level: float) -> int:
    """Largest k for which the k-th least and k-th greatest of n values hold the median with that probability."""
    rank = 0
    while 2 * (rank + 1) <= n and 1 - 2 * bdtr(rank, n, 0.5) >= level:
        rank += 1
    return rank


def _least(level: float) -> int:
    return next(n for n in range(2, 1000) if _rank(n, level))
