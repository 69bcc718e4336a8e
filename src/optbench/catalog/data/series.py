"""Series: columns of a CSV file in order of time, with one to forecast."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

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
) -> DataInfo:
    """`target`: column to forecast; `columns`: further columns of numbers as inputs. `window` past rows predict the next `horizon`."""
    return load(root, path=path, target=target, columns=columns, window=window, horizon=horizon).info


def load(
    root: Path,
    *,
    path: str,
    target: str,
    columns: Sequence[str] = (),
    window: int = 48,
    horizon: int = 12,
) -> Splits:
    """Return windows, split by time."""
    import pandas as pd

    file = Path(path).expanduser()
    try:
        frame = pd.read_csv(file)
    except FileNotFoundError:
        raise OptbenchError(f"path: no such file: {file}") from None
    except (OSError, ValueError) as error:
        raise OptbenchError(f"path: {file}: {str(error).strip()}") from error
    for name in (target, *columns):
        if name not in frame.columns:
            key = "target" if name == target else "columns"
            raise OptbenchError(
                f"{key}: {file} has no column '{name}'; {nearest(name, map(str, frame.columns))}"
            )
    wanted = {name: frame[name].to_numpy() for name in (target, *columns)}
    fingerprint = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    return splits(wanted, target, window, horizon, str(file), fingerprint)
