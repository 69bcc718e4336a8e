"""Table: the rows of a CSV or Parquet file, with one column to predict."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from optbench.catalog.data._columns import identity, read_table
from optbench.catalog.data._tables import splits
from optbench.catalog.types import DataInfo, Splits

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
    frame = read_table(path)
    columns = {str(name): frame[name].to_numpy() for name in frame.columns}
    return splits(columns, target, task, *identity(path))
