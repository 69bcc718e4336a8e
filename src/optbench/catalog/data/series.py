"""Series: columns of a CSV or Parquet file in order of time, with one to forecast."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from optbench.catalog.data._columns import identity, read_table
from optbench.catalog.data._series import splits
from optbench.catalog.types import DataInfo, Splits
from optbench.errors import OptbenchError, nearest

TASK = "forecasting"
RANGES = {"window": (1, None), "horizon": (1, None)}


def describe(
    root: Path,
    *,
    path: str,
    target: str,
    columns: Sequence[str] = (),
    window: int = 48,
    horizon: int = 12,
    missing: Literal["error", "previous"] = "error",
) -> DataInfo:
    """`target`: column to forecast; `columns`: further columns of numbers as inputs. `window` past rows predict the next `horizon`.
    `missing: previous` repeats the last known value; `error` reports the row."""
    return load(
        root, path=path, target=target, columns=columns, window=window, horizon=horizon, missing=missing
    ).info


def load(
    root: Path,
    *,
    path: str,
    target: str,
    columns: Sequence[str] = (),
    window: int = 48,
    horizon: int = 12,
    missing: Literal["error", "previous"] = "error",
) -> Splits:
    """Return windows, split by time."""
    frame = read_table(path)
    columns = [columns] if isinstance(columns, str) else columns
    source, fingerprint = identity(path)
    for name in (target, *columns):
        if name not in frame.columns:
            key = "target" if name == target else "columns"
            raise OptbenchError(
                f"{key}: {source} has no column '{name}'; {nearest(name, map(str, frame.columns))}"
            )
    wanted = {name: frame[name].to_numpy() for name in (target, *columns)}
    return splits(wanted, target, window, horizon, source, fingerprint, missing=missing)
