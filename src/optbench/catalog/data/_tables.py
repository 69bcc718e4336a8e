"""Tables of numbers and categories as standardised vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optbench.catalog.types import DataInfo, Split, Splits
from optbench.errors import OptbenchError, nearest

_MOST_CATEGORIES = 100  # of a column of text
_SHARES = (0.7, 0.15)  # of the rows: training, validation; the rest is the test split


def splits(columns: Mapping[str, Any], target: str, task: str, source: str, fingerprint: str = "") -> Splits:
    """Return the rows in a fixed random order, 70 % for training, 15 % each for validation and test.

    Numbers are standardised by the training rows, text columns are one-hot. Of a regression the target is standardised too: an error
    of 1 is a standard deviation of the training targets. Raises `OptbenchError` with column and row of a missing value.
    """
    import numpy as np

    if target not in columns:
        raise OptbenchError(f"target: {source} has no column '{target}'; {nearest(target, columns)}")
    count = len(next(iter(columns.values())))
    order = np.random.RandomState(0).permutation(count)
    first, second, _ = sizes(count)
    rows = (order[:first], order[first : first + second], order[first + second :])
    if min(map(len, rows)) < 1:
        raise OptbenchError(f"{source}: {count} rows are too few: expected at least 7")
    features = [
        part
        for name, values in columns.items()
        if name != target
        for part in _encoded(name, values, rows[0], source)
    ]
    if not features:
        raise OptbenchError(f"{source}: no columns besides the target '{target}'")
    inputs = np.stack(features, axis=1).astype(np.float32)
    if task == "classification":
        labels, classes = _labels(columns[target], target, source)
        parts = [Split(inputs[own], labels[own]) for own in rows]
    else:
        [values] = _encoded(target, _numbers(columns[target], target, source), rows[0], source)
        classes, parts = 1, [Split(inputs[own], values[own, None].astype(np.float32)) for own in rows]
    info = DataInfo(*sizes(count), (inputs.shape[1],), classes, source, fingerprint, task)
    return Splits(parts[0], parts[1], parts[2], info)


def sizes(rows: int) -> tuple[int, int, int]:
    """Return the numbers of training, validation and test rows."""
    first, second = (int(share * rows) for share in _SHARES)
    return first, second, rows - first - second


def _encoded(name: str, values: Any, training: Any, source: str) -> list[Any]:
    """Return a column as one standardised column of numbers, or one column of 0 and 1 per category."""
    import numpy as np

    if values.dtype.kind in "fiub":
        numbers = _numbers(values, name, source)
        mean, std = numbers[training].mean(), numbers[training].std()
        return [(numbers - mean) / (std if std > 0 else 1.0)]
    known = np.unique(values[training])
    if len(known) > _MOST_CATEGORIES:
        raise OptbenchError(
            f"{source}: column '{name}' has {len(known)} different texts; expected at most {_MOST_CATEGORIES}: remove the column"
        )
    return [(values == category).astype(np.float64) for category in known]


def _numbers(values: Any, name: str, source: str) -> Any:
    import numpy as np

    if values.dtype.kind not in "fiub":
        raise OptbenchError(f"{source}: column '{name}': expected numbers; found {values[0]!r} in row 1")
    numbers = values.astype(np.float64)
    missing = np.flatnonzero(~np.isfinite(numbers))
    if len(missing):
        raise OptbenchError(
            f"{source}: column '{name}', row {missing[0] + 1}: expected a number; found {numbers[missing[0]]} "
            f"({len(missing)} such rows): fill or remove them"
        )
    return numbers


def _labels(values: Any, name: str, source: str) -> tuple[Any, int]:
    import numpy as np

    if values.dtype.kind == "f":
        values = _numbers(values, name, source)
        if (values != np.rint(values)).any():
            raise OptbenchError(
                f"{source}: column '{name}' contains fractions, so it cannot be a class: use task: regression"
            )
    known, labels = np.unique(values, return_inverse=True)
    if len(known) < 2:
        raise OptbenchError(f"{source}: column '{name}': expected at least 2 classes; found {len(known)}")
    return labels.astype(np.int64), len(known)
