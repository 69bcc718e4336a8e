"""Curves over training: each series recorded at evaluations, per seed and aggregated over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from optbench.analysis.frames import is_worst
from optbench.analysis.gradients import workloads_shown
from optbench.analysis.rows import KEYS, table_rows
from optbench.store import Results, TrialLog
from optbench.store.evaluations import Evaluations

Array = npt.NDArray[np.float64]

#: minimum number of seeds for bands of quantiles; with fewer seeds, the range is shown
QUANTILE_SEEDS = 10
QUANTILES = (0.1, 0.9)

#: values recorded at evaluations besides the metrics, with their split
SERIES = {
    "train_loss": "train",
    "learning_rate": "",
    "gradient_norm": "",
    "gradient_norm_median": "",
    "gradient_norm_max": "",
}


def curves_frame(results: Results) -> pd.DataFrame:
    """Return one row per table row, series and common evaluation step: the median over seeds, and a band.

    Columns: suite, workload, horizon, optimizer, config_id; metric, split (a metric of a split; or train_loss of train;
    learning_rate, gradient_norm and the like, whose split is ""); step, epoch, train_seconds (the median of the seeds
    there that were not interrupted; NaN if there is none), gradient_evaluations (likewise; NaN in workloads in which every entry used one
    per step); median, low, high; band ("range": minimum to maximum, below 10 seeds;
    "10-90 %": quantiles; "": one seed, whose low and high are NaN); n (seeds with a value at this step), seeds (with a value at
    any step), worst (number of these that ended in the worst outcome), lost (number of these that ended before this step
    and are missing from the curve).

    A seed counts up to its last finite value. If seeds were evaluated at different steps, each is interpolated linearly
    between its own evaluations, and not extrapolated.
    """
    pieces: list[_Piece] = []
    shown = workloads_shown(results)
    for row in table_rows(results):
        by_series: dict[tuple[str, str], list[_Curve]] = {}
        for log in row.logs:
            for curve in _curves(log, gradients=(row.suite, row.trial.workload_name) in shown):
                by_series.setdefault((curve.metric, curve.split), []).append(curve)
        for (metric, split), curves in by_series.items():
            pieces.append((row.names | {"metric": metric, "split": split}, _over_seeds(curves)))
    values = (
        "step",
        "epoch",
        "train_seconds",
        "gradient_evaluations",
        "median",
        "low",
        "high",
        "band",
        "n",
        "seeds",
        "lost",
        "worst",
    )
    return _table(pieces, (*KEYS, "metric", "split", *values))


#: values that all rows of a curve share, and its columns
_Piece = tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]


def _table(pieces: list[_Piece], columns: tuple[str, ...]) -> pd.DataFrame:
    """Build the frame at once: a thousand small frames would take a second."""
    if not pieces:
        return pd.DataFrame(columns=list(columns))
    lengths = [len(content["step"]) for _, content in pieces]
    shared = {
        name: np.repeat(np.array([named[name] for named, _ in pieces], dtype=None), lengths)
        for name in pieces[0][0]
    }
    own = {name: np.concatenate([content[name] for _, content in pieces]) for name in pieces[0][1]}
    return pd.DataFrame(shared | own)[list(columns)]


@dataclass(frozen=True)
class _Curve:
    """One series of one trial: arrays of one length, steps ascending, values finite."""

    metric: str
    split: str
    step: Array
    epoch: Array
    train_seconds: Array
    gradients: Array  # evaluations so far
    value: Array
    worst: bool  # the trial ended in the worst outcome


def _curves(log: TrialLog, *, gradients: bool) -> Iterator[_Curve]:
    """Yield the curves. `gradients`: with counts of gradient evaluations."""
    if not log.evaluations:
        return
    clocks = np.array(
        [
            *(log.evaluations.column(name) for name in ("step", "epoch", "train_seconds")),
            log.gradient_evaluations if gradients else [None] * len(log.evaluations),
        ],
        dtype=float,
    ).T
    if not log.seconds_count:
        clocks[:, 2] = math.nan
    for (metric, split), values in _series(log.evaluations).items():
        known = np.isfinite(values)
        if known.any():
            step, epoch, seconds, counts = clocks[known].T
            yield _Curve(metric, split, step, epoch, seconds, counts, values[known], is_worst(log))


def _series(events: Evaluations) -> dict[tuple[str, str], Array]:
    """Return the series by metric and split; NaN where an evaluation has no value."""
    found = {(m, s): events.metric(s, m) for s, names in events.metrics().items() for m in names}
    for name, split in SERIES.items():
        found[name, split] = [math.nan if value is None else value for value in events.column(name)]
    return {key: np.array(values, dtype=float) for key, values in found.items()}


def _over_seeds(curves: list[_Curve]) -> dict[str, npt.NDArray[Any]]:
    grid = _grid(curves)
    values, epochs, seconds, gradients = (
        np.array([_on(grid, curve.step, getattr(curve, name)) for curve in curves])
        for name in ("value", "epoch", "train_seconds", "gradients")
    )
    n = np.isfinite(values).sum(axis=0)
    ended = np.array([curve.step[-1] for curve in curves])[:, None] < grid
    lost = (ended & np.array([curve.worst for curve in curves])[:, None]).sum(axis=0)
    band, (low, high) = _band(values)
    there = n > 0  # with different steps, every seed may have ended
    columns: dict[str, npt.NDArray[Any]] = {
        "step": grid.astype(int),
        "epoch": _median(epochs),
        "train_seconds": _median(seconds),
        "gradient_evaluations": _median(gradients),
        "median": _median(values),
        "low": low,
        "high": high,
        "band": np.full(len(grid), band),
        "n": n,
        "seeds": np.full(len(grid), len(curves)),
        "lost": lost,
        "worst": np.full(len(grid), sum(curve.worst for curve in curves)),
    }
    return {name: column[there] for name, column in columns.items()}


def _grid(curves: list[_Curve]) -> Array:
    """Return the common steps; if they differ between seeds, evenly spaced ones, as many as the longest curve has."""
    steps: Array = np.unique(np.concatenate([curve.step for curve in curves]))
    longest = max(len(curve.step) for curve in curves)
    if len(steps) == longest:
        return steps
    places = np.linspace(0, len(steps) - 1, longest).round().astype(int)
    thinned: Array = steps[np.unique(places)]
    return thinned


def _on(grid: Array, steps: Array, values: Array) -> Array:
    """Interpolate on the grid; NaN outside of the seed's own evaluations."""
    found: Array = np.interp(grid, steps, values, left=math.nan, right=math.nan)
    return found


def _band(values: Array) -> tuple[str, Array]:
    if len(values) < 2:
        return "", np.full((2, values.shape[1]), math.nan)
    ends = QUANTILES if len(values) >= QUANTILE_SEEDS else (0.0, 1.0)
    return ("10-90 %" if len(values) >= QUANTILE_SEEDS else "range"), _quantiles(values, ends)


def _median(values: Array) -> Array:
    middle: Array = _quantiles(values, (0.5,))[0]
    return middle


def _quantiles(values: Array, levels: tuple[float, ...]) -> Array:
    """Return quantiles over the first axis, ignoring NaN, with linear interpolation (Hyndman and Fan's type 7).

    Equal to `numpy.nanquantile`, which processes columns one by one and is a hundred times slower here.
    """
    ordered = np.sort(values, axis=0)  # NaN last
    last = np.maximum(np.isfinite(values).sum(axis=0) - 1, 0)
    found = []
    for level in levels:
        at = level * last
        below, above = (
            np.take_along_axis(ordered, end.astype(int)[None], axis=0)[0]
            for end in (np.floor(at), np.ceil(at))
        )
        found.append(below + (at - np.floor(at)) * (above - below))
    values_at: Array = np.array(found)
    return values_at
