"""Mackey-Glass: a chaotic series from a delay differential equation (Mackey and Glass 1977), generated; no download."""

from __future__ import annotations

from pathlib import Path

from optbench.catalog.data._series import splits
from optbench.catalog.types import DataInfo, Splits

TASK = "forecasting"
RANGES = {"window": (1, None), "horizon": (1, None), "length": (100, None), "delay": (1, 1000)}
#: defaults of `optbench new`
STARTER = {"target": 0.1, "batch_size": 64, "most_epochs": 10}

_SUBSTEPS, _DISCARDED = 10, 200


def describe(
    root: Path, *, length: int = 5000, delay: int = 17, window: int = 32, horizon: int = 8
) -> DataInfo:
    """dx/dt = 0.2 x(t - delay) / (1 + x(t - delay)^10) - 0.1 x(t); one value per unit of time."""
    return load(root, length=length, delay=delay, window=window, horizon=horizon).info


def load(root: Path, *, length: int = 5000, delay: int = 17, window: int = 32, horizon: int = 8) -> Splits:
    """Return windows, split by time. Euler's method with 10 steps per unit of time, started at 1.2."""
    import numpy as np

    lag, steps = delay * _SUBSTEPS, (length + _DISCARDED) * _SUBSTEPS
    x = np.full(lag + steps, 1.2)
    for step in range(lag, lag + steps - 1):
        late = x[step - lag]
        x[step + 1] = x[step] + (0.2 * late / (1 + late**10) - 0.1 * x[step]) / _SUBSTEPS
    series = x[lag + _DISCARDED * _SUBSTEPS :: _SUBSTEPS][:length]
    return splits({"x": series}, "x", window, horizon, "the Mackey-Glass equation")
