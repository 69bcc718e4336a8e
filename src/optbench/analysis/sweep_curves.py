"""Sweeps as curves over their main hyperparameter, and as a grid where there are two."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from optbench.analysis.basins import basin_bracket, basin_ends, is_dense
from optbench.analysis.intervals import t_interval
from optbench.analysis.sensitivity import margin_of
from optbench.analysis.sweeps import Sweep, is_point, sweeps
from optbench.store import Results


def sweep_curves_frame(results: Results) -> pd.DataFrame:
    """Return one row per entry and value of its main hyperparameter (the learning rate), ascending: suite, workload, optimizer,
    hyperparameter, metric, metric_unit, value, mean (of the last validation metric; at each value the best over the other
    hyperparameters, by seed), low, high (95 % t interval; empty for one seed), n (seeds of which every point counts),
    failures (trials of the whole sweep that count as the worst outcome), own (the entry's value, NaN if it has none).

    basin_low, basin_high: where the mean is within `MARGINS["width_1"]` of its best, interpolated; on a grid of fewer than 3
    points a decade only from the first to the last point that is. Empty for values of 0 or less, which have no decades.
    """
    frames = [_curve(sweep) for sweep in sweeps(results) if len(sweep.scores)]
    columns = ["suite", "workload", "optimizer", "hyperparameter", "metric", "metric_unit"]
    columns += ["value", "mean", "low", "high"]
    columns += ["n", "failures", "own", "basin_low", "basin_high"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def sweep_grid_frame(results: Results) -> pd.DataFrame:
    """Return one row per entry and point of a sweep over exactly two hyperparameters: suite, workload, optimizer, metric,
    metric_unit, x_name, y_name, x, y, mean, low, high (over seeds, 95 % t interval; empty for one seed), n (seeds of which
    every point counts), failures (trials at this point that count as the worst outcome), own (bool: the entry as written), higher (bool:
    greater is better)."""
    records: list[dict[str, Any]] = []
    for sweep in sweeps(results):
        if len(sweep.axes) == 2 and len(sweep.scores):
            x, y = sweep.axes
            sign, within = (1.0 if sweep.facts.higher_is_better else -1.0), sweep.facts.range
            for place, (point, failures) in enumerate(zip(sweep.points, sweep.failed, strict=True)):
                found = t_interval((sign * sweep.scores[place]).tolist(), within=within)
                named = {"suite": sweep.suite, "workload": sweep.workload, "optimizer": sweep.optimizer}
                own = {
                    "metric": sweep.metric,
                    "metric_unit": sweep.facts.unit,
                    "x_name": x,
                    "y_name": y,
                    "x": point[x],
                    "y": point[y],
                }
                own |= {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}
                own |= {"failures": failures, "own": is_point(sweep.own_values, point)}
                records.append(named | own | {"higher": sweep.facts.higher_is_better})
    columns = [
        "suite",
        "workload",
        "optimizer",
        "metric",
        "metric_unit",
        "x_name",
        "y_name",
        "x",
        "y",
        "mean",
        "low",
        "high",
    ]
    columns += ["n", "failures", "own", "higher"]
    return pd.DataFrame(records, columns=columns)


def _curve(sweep: Sweep) -> pd.DataFrame:
    values = sorted({point[sweep.main] for point in sweep.points})
    of_value = [point[sweep.main] for point in sweep.points]
    by_seed = sweep.scores.T.groupby(of_value).max().T[values]  # greater is better
    sign = 1.0 if sweep.facts.higher_is_better else -1.0
    estimates = [t_interval((sign * by_seed[value]).tolist(), within=sweep.facts.range) for value in values]
    low, high = _basin(sweep, values, by_seed)
    return pd.DataFrame(
        {
            "suite": sweep.suite,
            "workload": sweep.workload,
            "optimizer": sweep.optimizer,
            "hyperparameter": sweep.main,
            "metric": sweep.metric,
            "metric_unit": sweep.facts.unit,
            "value": values,
            "mean": [estimate.mean for estimate in estimates],
            "low": [estimate.low for estimate in estimates],
            "high": [estimate.high for estimate in estimates],
            "n": len(by_seed),
            "failures": sweep.failures,
            "own": sweep.own_values.get(sweep.main, np.nan),
            "basin_low": low,
            "basin_high": high,
        }
    )


def _basin(sweep: Sweep, values: list[float], by_seed: pd.DataFrame) -> tuple[float, float]:
    if values[0] <= 0 or len(values) < 2:
        return np.nan, np.nan
    positions = np.log10(np.array(values))
    mean = by_seed.mean()
    margin = margin_of(sweep, mean, "width_1")
    scores = mean.to_numpy(float)
    if is_dense(positions):
        low, high = basin_ends(positions, scores, margin)
    else:
        best = int(np.argmax(scores))
        width = basin_bracket(positions, scores, margin)[0]
        inside = [at for at in range(best, -1, -1) if np.all(scores[at:best] >= scores[best] - margin)]
        low = float(positions[min(inside)])
        high = low + width
    return 10.0**low, 10.0**high
