"""Bundled table: a small table of scikit-learn's, without download."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from optbench.catalog.data._tables import splits
from optbench.catalog.types import DataInfo, Splits
from optbench.errors import OptbenchError

TASK = "classification"
#: defaults of `optbench new`
STARTER = {"target": {"classification": 0.95, "regression": 0.78}, "batch_size": 32, "most_epochs": 50}

Name = Literal["breast_cancer", "wine", "iris", "diabetes"]
_NAMES = ("breast_cancer", "wine", "iris", "diabetes")


def describe(
    root: Path,
    *,
    table: Name = "breast_cancer",
    task: Literal["classification", "regression"] = "classification",
) -> DataInfo:
    """`diabetes` is a regression: write `task: regression` with it."""
    return load(root, table=table, task=task).info


def load(
    root: Path,
    *,
    table: Name = "breast_cancer",
    task: Literal["classification", "regression"] = "classification",
) -> Splits:
    """Return the rows in a fixed random order, with standardised features."""
    import sklearn.datasets

    if table not in _NAMES:
        raise OptbenchError(f"table: expected one of {', '.join(_NAMES)}; found {table!r}")
    if (table == "diabetes") is not (task == "regression"):
        raise OptbenchError(
            f"task: {table} is a {'regression' if table == 'diabetes' else 'classification'}; found {task}"
        )
    bunch = getattr(sklearn.datasets, f"load_{table}")()
    columns = {name: bunch.data[:, position] for position, name in enumerate(bunch.feature_names)}
    return splits(
        {**columns, "target": bunch.target}, "target", task, f"scikit-learn's bundled table {table}"
    )
