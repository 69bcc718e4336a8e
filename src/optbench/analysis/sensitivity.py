"""How much an entry's outcome depends on its hyperparameters: several measures over one sweep, since they can disagree.

A score is the last validation metric, turned so that greater is better; diverged points count as the worst outcome. Every
measure is taken on each seed's own curve; intervals are t intervals over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from optbench.analysis.basins import Curve, basin_width, is_dense, width_over_seeds
from optbench.analysis.intervals import t_interval
from optbench.analysis.order_statistics import expected_best, tunability
from optbench.analysis.sweeps import Sweep, grids_of, sweeps
from optbench.store import Results
from optbench.suite.grids import MAX_EXTENSIONS
from optbench.suite.sweep import Extensions

Array = npt.NDArray[np.float64]

#: a basin is where the score is within this of its best: of shares in points, else as a part of the best value
MARGINS = {"width_1": 0.01, "width_2": 0.02}
#: of the learning-rate sensitivity, around the best point
WINDOW_DECADES = 3.0
_NOT_NEGATIVE = (0.0, math.inf)
#: the words: a basin (within one point or percent) at least so many decades wide
LOW_DECADES, MEDIUM_DECADES = 1.0, 0.5
LEVEL_RULE = (
    f"low: a basin (within 1 point of the best score) at least {LOW_DECADES:g} decade wide; medium: at least {MEDIUM_DECADES:g}; "
    "high: narrower. Two levels if the interval includes both, undecided if it includes all three"
)


def sensitivity_frame(results: Results) -> pd.DataFrame:
    """Return one row per swept entry.

    suite, workload, optimizer, hyperparameters; metric; seeds (of which every point counts), points, points_a_decade, grid_low,
    grid_high (of the learning rate, or of what is swept first), failures (trials), complete (bool), engine (that trained the
    sweep); best_at (of the mean curve),
    own (the entry's value), edge ("", or which side of what the optimum lies at); and, each with _low and _high (95 %, over seeds):
    width_1, width_2 (decades, within the grid; empty with a bracket in _low and _high where the grid is sparse; _high is infinite
    and width_1_open true if the basin runs over the grid's end; empty where some seed has no point that trained, and where values
    are 0 or less), target_share, expected_best_<k>, lr_sensitivity (with lr_window, the decades covered),
    default_regret, tunability; level.
    """
    records = [_record(sweep) for sweep in sweeps(results)]
    return pd.DataFrame(records)


def widths(sweep: Sweep, margin: str = "width_1") -> pd.Series | None:
    """Return the basin's width by seed; None where the grid is too sparse for more than a bracket, or some seed has no basin."""
    curves = basin_curves(sweep, margin)
    if not curves or not is_dense(curves[0].positions):
        return None
    found = [basin_width(curve.positions, curve.scores, curve.margin) for curve in curves]
    return pd.Series(found, index=sweep.scores.index)


def extension(results: Results, extended: Extensions) -> Extensions | None:
    """Return how far the grids are extended next: a side is extended for all entries if the optimum of any entry is at it.

    None if no optimum does, if trials are missing, or if a grid has grown as often as it may or has `extend: false`.
    """
    found = sweeps(results)
    fixed = {name for suite in results.suites for name, grid in grids_of(suite).items() if not grid.extend}
    if not found or not all(sweep.complete for sweep in found):
        return None
    wider = dict(extended)
    for sweep in found:
        for axis, side in _edges(sweep):
            name = axis.split(".")[-1] if axis[0].isdigit() else axis
            now, before = wider.get(name, (0, 0)), extended.get(name, (0, 0))
            if sum(before) < MAX_EXTENSIONS and name not in fixed:
                wider[name] = (
                    max(now[0], before[0] + (side == "low")),
                    max(now[1], before[1] + (side == "high")),
                )
    return wider if wider != dict(extended) else None


def rate_sensitivity(positions: Array, scores: Array) -> tuple[float, float]:
    """Return the mean shortfall from the best over three decades around it, uniform in log10, and how many of these decades the grid
    covers.

    Wortsman et al., 2309.14322, take the loss, clipped at its value at initialisation; here it is the suite's metric, and
    diverged points count as the worst outcome. Trapezoids between points.
    """
    best = int(np.argmax(scores))
    low = max(float(positions[0]), float(positions[best]) - WINDOW_DECADES / 2)
    high = min(float(positions[-1]), float(positions[best]) + WINDOW_DECADES / 2)
    inner = positions[(positions > low) & (positions < high)]
    at = np.concatenate([[low], inner, [high]])
    shortfall = scores[best] - np.interp(at, positions, scores)
    area = float(np.sum(np.diff(at) * (shortfall[1:] + shortfall[:-1]) / 2))
    return area / (high - low), high - low


def rate_sensitivities(sweep: Sweep) -> pd.Series:
    """Return `rate_sensitivity` by seed, empty if the swept values have no logarithm; the fewest decades covered are in `attrs`."""
    known = sweep.scores if sweep.has_decades else sweep.scores[:0]
    rates = [rate_sensitivity(*_curve(sweep, row)) for _, row in known.iterrows()]
    losses = pd.Series([loss for loss, _ in rates], index=known.index, dtype=float)
    losses.attrs["decades"] = min((decades for _, decades in rates), default=math.nan)
    return losses


def level(low: float, high: float) -> str:
    """Return low, medium or high, from an interval of the width in decades; two words if it contains both, otherwise undecided."""
    words = dict.fromkeys([_width_in_words(high), _width_in_words(low)])
    return "undecided" if list(words) == ["low", "high"] else " or ".join(words)


def _width_in_words(width: float) -> str:
    if math.isnan(width):
        return ""
    return "low" if width >= LOW_DECADES else "medium" if width >= MEDIUM_DECADES else "high"


def _record(sweep: Sweep) -> dict[str, Any]:
    record: dict[str, Any] = {
        "suite": sweep.suite,
        "workload": sweep.workload,
        "optimizer": sweep.optimizer,
        "hyperparameters": ", ".join(sweep.axes),
        "metric": sweep.metric,
        "metric_unit": sweep.facts.unit,
        "seeds": len(sweep.scores),
        "points": sweep.scores.shape[1],
        "failures": sweep.failures,
        "complete": sweep.complete,
        "engine": " and ".join(sweep.engines),
        "own": sweep.own_values.get(sweep.main, math.nan),
    }
    if sweep.scores.empty:
        return record
    positions = _positions(sweep)
    mean = sweep.scores.mean()
    sign = 1.0 if sweep.facts.higher_is_better else -1.0
    record |= {
        "points_a_decade": (len(positions) - 1) / float(positions[-1] - positions[0])
        if sweep.has_decades
        else math.nan,
        "grid_low": min(point[sweep.main] for point in sweep.points),
        "grid_high": max(point[sweep.main] for point in sweep.points),
        "best_at": sweep.points[int(mean.to_numpy().argmax())][sweep.main],
        "edge": ", ".join(f"{side} end of {axis}" for axis, side in _edges(sweep)),
    }
    record |= _of_width(sweep, positions)
    points = sweep.scores.shape[1]
    if sweep.reached is not None:
        record |= _interval("target_share", sweep.reached.mean(axis=1).tolist(), (0.0, 1.0))
    for k in (2**power for power in range(20) if 2**power <= points / 4):
        best_of = [sign * expected_best(row, k) for row in sweep.scores.to_numpy(float)]
        record |= _interval(f"expected_best_{k}", best_of, sweep.facts.range)
    losses = rate_sensitivities(sweep)
    record |= _interval("lr_sensitivity", losses.tolist(), _NOT_NEGATIVE)
    record["lr_window"] = losses.attrs["decades"]
    own = sweep.own.reindex(sweep.scores.index).dropna()
    best = sweep.scores.max(axis=1)
    record |= _interval("default_regret", (best.loc[own.index] - own).clip(lower=0).tolist(), _NOT_NEGATIVE)
    incumbents = [
        sign * tunability(np.array([expected_best(row, k) for k in range(1, points + 1)]))
        for row in sweep.scores.to_numpy(float)
    ]
    return record | _interval("tunability", incumbents, sweep.facts.range)


def _of_width(sweep: Sweep, positions: Array) -> dict[str, Any]:
    record: dict[str, Any] = {"bracketed": sweep.has_decades and not is_dense(positions)}
    for name in MARGINS:
        found = width_over_seeds(basin_curves(sweep, name))
        record |= {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
        record |= {f"{name}_open": found.is_open}
        if name == "width_1":
            record["level"] = level(*found.bounds) or "undecided"
    return record


def basin_curves(sweep: Sweep, margin: str = "width_1") -> list[Curve]:
    """Return a curve per seed; none where some seed has no basin: values without decades, or no point that trained."""
    if not sweep.has_decades or not sweep.trained.all():
        return []
    return [Curve(*_curve(sweep, row), margin_of(sweep, row, margin)) for _, row in sweep.scores.iterrows()]


def _interval(
    name: str, values: Sequence[float], within: tuple[float, float] = (-math.inf, math.inf)
) -> dict[str, float]:
    found = t_interval(values, within=within)
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}


def _positions(sweep: Sweep) -> Array:
    """Return log10 of the main hyperparameter's values, ascending; ranks if the grid has values of 0 or less."""
    values = sorted({point[sweep.main] for point in sweep.points})
    if values[0] <= 0:
        return np.arange(len(values), dtype=np.float64)
    logs: Array = np.log10(np.array(values))
    return logs


def _curve(sweep: Sweep, row: pd.Series) -> tuple[Array, Array]:
    """Return positions along the main hyperparameter, and at each the best score over the others."""
    best: dict[float, float] = {}
    for point, score in zip(sweep.points, row, strict=True):
        best[point[sweep.main]] = max(best.get(point[sweep.main], -math.inf), float(score))
    return _positions(sweep), np.array([best[value] for value in sorted(best)])


def margin_of(sweep: Sweep, row: pd.Series, name: str) -> float:
    share = MARGINS[name]
    return share if sweep.facts.is_fraction else share * abs(float(row.max()))


def _edges(sweep: Sweep) -> list[tuple[str, str]]:
    """Return the hyperparameters whose best value (mean over seeds, best over the others) is strictly the first or last of the grid."""
    if sweep.scores.empty:
        return []
    mean, found = sweep.scores.mean(), []
    for axis in sweep.axes:
        best = mean.groupby([point[axis] for point in sweep.points]).max().sort_index()
        if len(best) > 2 and best.max() > best.iloc[1:-1].max():
            found.append((axis, "low" if best.iloc[0] >= best.iloc[-1] else "high"))
    return found
