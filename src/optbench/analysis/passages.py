"""Changes in time to target: paired where all trials reached it, by restricted means where some did not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from optbench.analysis.censoring import restricted_difference, restricted_mean
from optbench.analysis.contrast import Contrast, contrast


@dataclass(frozen=True)
class PassageChange:
    """`method` and `p` replace those of the contrast, which ignore censoring and the evaluation grid."""

    contrast: Contrast
    method: str
    p: float
    note: str


def passage_change(before: pd.DataFrame, after: pd.DataFrame, unit: str, *, paired: bool) -> PassageChange:
    """Return the change of one entry and target, from frames of `passages_frame`: as a ratio for seconds, otherwise as a difference.

    A difference below one evaluation interval is not significant (p = 1), except in seconds where every pair arrived at the very
    same step: then it is of pace alone.
    """
    before, after = before.dropna(subset=[unit]), after.dropna(subset=[unit])
    if before.empty or after.empty:
        return PassageChange(Contrast("", len(before), len(after)), "", math.nan, "")
    if not (before["reached"].all() and after["reached"].all()):
        return _restricted(before, after, unit)
    first, second = _by_seed(before, unit), _by_seed(after, unit)
    found = contrast(first, second, paired=paired, ratio=unit == "seconds")
    if paired and unit == "seconds" and _same_steps(before, after):
        return PassageChange(found, found.method, found.p, "")
    grid = max(float((own[unit] - own[f"{unit}_low"]).max()) for own in (before, after))
    if found.has_interval and 0 < abs(found.after - found.before) < grid * (1 - 1e-9):
        return PassageChange(found, found.method, 1.0, "below one evaluation interval")
    return PassageChange(found, found.method, found.p, "")


def _restricted(before: pd.DataFrame, after: pd.DataFrame, unit: str) -> PassageChange:
    tau = float(max(before[unit].max(), after[unit].max()))
    sides = [
        (own[unit].astype(float).tolist(), own["reached"].astype(bool).tolist()) for own in (before, after)
    ]
    note = f"reached by {sum(sides[0][1])} of {len(before)} before, {sum(sides[1][1])} of {len(after)} after"
    if not any(sides[0][1]) and not any(sides[1][1]):
        empty = Contrast("", len(before), len(after))
        return PassageChange(empty, "", math.nan, note)
    means = [restricted_mean(times, reached, tau) for times, reached in sides]
    test = restricted_difference(*sides[1], *sides[0], tau)
    change = math.log(means[1] / means[0]) if unit == "seconds" and min(means) > 0 else test.mean
    found = replace(Contrast("", len(before), len(after)), before=means[0], after=means[1], change=change)
    return PassageChange(found, "permutation", test.p, note)


def _by_seed(own: pd.DataFrame, unit: str) -> Mapping[int, float]:
    pairs: dict[Any, float] = dict(zip(own["seed"], own[unit].astype(float), strict=True))
    return pairs


def _same_steps(before: pd.DataFrame, after: pd.DataFrame) -> bool:
    common = before.merge(after, on="seed", suffixes=("_a", "_b"))
    return bool(len(common)) and bool((common["steps_a"] == common["steps_b"]).all())
