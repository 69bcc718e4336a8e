"""Table: the rows of a CSV or Parquet file, with one column to predict."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

from optbench.catalog.data._tables import splits
from optbench.catalog.types import DataInfo, Splits
from optbench.errors import OptbenchError

TASK = "regression"


def describe(
    root: Path, *, path: str, target: str, task: Literal["regression", "classification"] = "regression"
) -> DataInfo:
    """`target`: the column to predict. Columns of numbers are standardised, columns of text are one-hot."""
    return load(root, path=path, target=target, task=task).info


def load(
    root: Path, *, path: str, target: str, task: Literal["regression", "classification"] = "regression"
) -> Splits:
    """Return the rows, 70 % for training and 15 % each for validation and test, in a fixed random order."""
    file = Path(path).expanduser()
    columns = _columns(file)
    return splits(columns, target, task, str(file), hashlib.sha256(file.read_bytes()).hexdigest()[:16])


def _columns(file: Path) -> dict[str, Any]:
    import numpy as np
    import pandas as pd

    try:
        frame = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)
    except FileNotFoundError:
        raise OptbenchError(f"path: no such file: {file}") from None
    except ImportError as error:
        raise OptbenchError(f"path: {file}: {error}") from error
    except (OSError, ValueError) as error:  # pandas' errors of parsing are ValueErrors, and name the line
        raise OptbenchError(f"path: {file}: {str(error).strip()}") from error
    if frame.empty:
        raise OptbenchError(f"path: {file}: no rows")
    columns = {}
    for name in frame.columns:
        values = frame[name]
        if values.dtype.kind in "fiub":
            columns[str(name)] = values.to_numpy()
            continue
        missing = np.flatnonzero(values.isna().to_numpy())
        if len(missing):
            raise OptbenchError(f"path: {file}: column '{name}', row {missing[0] + 1}: missing value")
        columns[str(name)] = np.asarray(values.astype(str), dtype=np.str_)
    return columns
