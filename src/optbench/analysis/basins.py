"""The basin of a hyperparameter: the range around its best value over which the score stays within a margin of the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optbench.analysis.intervals import t_interval

Array = npt.NDArray[np.float64]

#: sparser grids give widths as brackets (decision 10)
LEAST_POINTS_A_DECADE = 3


@dataclass(frozen=True)
class Curve:
    """Scores of one seed (greater is better) at `positions`: log10 of the hyperparameter, ascending."""

    positions: Array
    scores: Array
    margin: float


@dataclass(frozen=True)
class Width:
    """Width in decades over seeds, within the grid. `high` is infinite if the basin extends beyond the grid.

    Dense grids: mean with 95 % t interval (NaN for one seed). Sparse grids: a bracket without a mean.
    """

    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan
    is_open: bool = False

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the interval or bracket; for a single seed its width."""
        if not math.isnan(self.low):
            return self.low, self.high
        return self.mean, math.inf if self.is_open else self.mean


def width_over_seeds(curves: Sequence[Curve]) -> Width:
    """Return the width of the basins of one entry, a curve per seed, all on the same grid."""
    if not curves:
        return Width()
    positions = curves[0].positions
    within = (0.0, float(positions[-1] - positions[0]))
    brackets = [basin_bracket(curve.positions, curve.scores, curve.margin) for curve in curves]
    is_open = any(bracket[2] for bracket in brackets)
    if is_dense(positions):
        found = t_interval(
            [basin_width(curve.positions, curve.scores, curve.margin) for curve in curves], within=within
        )
        return Width(found.mean, found.low, math.inf if is_open and found.n > 1 else found.high, is_open)
    least = t_interval([low for low, _, _ in brackets], within=within)
    low = least.mean if least.n == 1 else least.low
    if is_open:
        return Width(low=low, high=math.inf, is_open=True)
    most = t_interval([high for _, high, _ in brackets], within=within)
    return Width(low=low, high=most.mean if most.n == 1 else most.high)


def basin_width(positions: Array, scores: Array, margin: float) -> float:
    """Return the width in decades of the range around the best point with scores within `margin` of it, interpolated between points.

    `positions` are log10 of the hyperparameter, ascending. Clipped at the grid's ends. (The width of
    {lr: score >= best - margin}, of the part that holds the best point.)
    """
    low, high = basin_ends(positions, scores, margin)
    return high - low


def basin_ends(positions: Array, scores: Array, margin: float) -> tuple[float, float]:
    """Return the ends of that basin, in units of `positions`."""
    best = int(np.argmax(scores))
    floor = scores[best] - margin
    ends = []
    for step in (-1, 1):
        at = best
        while 0 <= at + step < len(scores) and scores[at + step] >= floor:
            at += step
        end = float(positions[at])
        if 0 <= at + step < len(scores):
            share = (scores[at] - floor) / (scores[at] - scores[at + step])
            end += share * float(positions[at + step] - positions[at])
        ends.append(end)
    return ends[0], ends[1]


def basin_bracket(positions: Array, scores: Array, margin: float) -> tuple[float, float, bool]:
    """Return the bracket that a sparse grid gives: the basin spans at least its points within the margin, and ends before the next ones.

    The third value is whether it extends beyond the grid, so that there is no upper bound.
    """
    best = int(np.argmax(scores))
    inside = scores >= scores[best] - margin
    low = high = best
    while low > 0 and inside[low - 1]:
        low -= 1
    while high < len(scores) - 1 and inside[high + 1]:
        high += 1
    is_open = low == 0 or high == len(scores) - 1
    outer = positions[min(high + 1, len(scores) - 1)] - positions[max(low - 1, 0)]
    return float(positions[high] - positions[low]), math.inf if is_open else float(outer), is_open


def is_dense(positions: Array) -> bool:
    return bool(
        np.diff(positions).max() <= 1.01 / LEAST_POINTS_A_DECADE
    )  # 0.464 is written for 10 ** (-1 / 3)
