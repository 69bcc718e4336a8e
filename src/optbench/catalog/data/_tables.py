"""Tables of numbers and categories as standardised vectors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from optbench.catalog.data._columns import check_finite, check_varies, numbers_of
from optbench.catalog.types import DataInfo, Split, Splits
from optbench.errors import OptbenchError, nearest
from optbench.plurals import counted

_MOST_CATEGORIES = 100  # of a column of text
_MOSTLY = 0.9  # share of numbers from which a column is one of numbers
_DATE = re.compile(r"\s*(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})(?!\d)")
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
        raise OptbenchError(f"{source}: expected at least 7 rows; found {count}")
    notes, features = [], []
    for name, values in columns.items():
        if name == target:
            continue
        encoded = _encoded(name, values, rows[0], source)
        features += encoded
        if _is_dates(values):
            notes.append(
                f"{source}: column '{name}' contains dates, which are one-hot like other text "
                f"({counted(len(encoded), 'category', 'categories')}): convert them to numbers, or remove the column"
            )
    if not features:
        raise OptbenchError(f"{source}: no columns besides the target '{target}'")
    inputs = np.stack(features, axis=1).astype(np.float32)
    if task == "classification":
        labels, classes = _labels(columns[target], target, source)
        parts = [Split(inputs[own], labels[own]) for own in rows]
    else:
        numbers = _finite(columns[target], target, source)
        check_varies(numbers, target, source)
        [values] = _encoded(target, numbers, rows[0], source)
        classes, parts = 1, [Split(inputs[own], values[own, None].astype(np.float32)) for own in rows]
    info = DataInfo(*sizes(count), (inputs.shape[1],), classes, source, fingerprint, task)
    return Splits(parts[0], parts[1], parts[2], info, notes=tuple(notes))


def sizes(rows: int) -> tuple[int, int, int]:
    """Return the numbers of training, validation and test rows."""
    first, second = (int(share * rows) for share in _SHARES)
    return first, second, rows - first - second


def _encoded(name: str, values: Any, training: Any, source: str) -> list[Any]:
    """Return a column as one standardised column of numbers, or one column of 0 and 1 per category of the training rows."""
    import numpy as np

    if values.dtype.kind not in "fiub" and not _is_numeric(values, name, source):
        texts = _texts(values, name, source)
        known = np.unique(texts[training])
        if len(known) == len(training):
            raise OptbenchError(
                f"{source}: column '{name}' has a different text in each row, such as {str(texts[0])!r}; expected categories, or numbers "
                "without units and thousands separators: remove the column"
            )
        if len(known) > _MOST_CATEGORIES:
            raise OptbenchError(
                f"{source}: column '{name}' has {len(known)} different texts; expected at most {_MOST_CATEGORIES}: "
                "remove the column"
            )
        return [(texts == category).astype(np.float64) for category in known]
    numbers = _finite(values, name, source)
    with np.errstate(over="ignore"):
        mean, std = numbers[training].mean(), numbers[training].std()
    if not np.isfinite(std):
        raise OptbenchError(
            f"{source}: column '{name}': values up to {np.abs(numbers).max():g} are too large"
        )
    return [(numbers - mean) / (std if std > 0 else 1.0)]


def _finite(values: Any, name: str, source: str) -> Any:
    numbers = numbers_of(values, name, source)
    check_finite(numbers, name, source)
    return numbers


def _is_numeric(values: Any, name: str, source: str) -> bool:
    """Return whether all values of a column of objects are numbers, as whole numbers beyond 64 bits are.

    Raises `OptbenchError` with the row of the first text, such as "?", in a column of numbers.
    """
    import pandas as pd

    share = pd.to_numeric(pd.Series(values).dropna(), errors="coerce").notna().mean()
    if share >= _MOSTLY:
        numbers_of(values, name, source)
    return bool(share == 1)


def _is_dates(values: Any) -> bool:
    """Return whether a column has times, or text that starts with a date in digits in all rows."""
    return values.dtype.kind in "mM" or (
        values.dtype.kind not in "fiub" and all(_DATE.match(str(value)) for value in values)
    )


def _texts(values: Any, name: str, source: str) -> Any:
    import numpy as np
    import pandas as pd

    column = pd.Series(values)
    missing = np.flatnonzero(column.isna().to_numpy())
    if len(missing):
        raise OptbenchError(
            f"{source}: column '{name}', row {missing[0] + 1}: expected a value; found none "
            f"({counted(len(missing), 'such row')}): fill or remove them"
        )
    nested = np.flatnonzero([isinstance(value, (list, tuple, dict, set, np.ndarray)) for value in column])
    if len(nested):
        row, kind = nested[0], type(values[nested[0]]).__name__
        raise OptbenchError(
            f"{source}: column '{name}', row {row + 1}: expected a number or a text; found a {kind}"
        )
    return np.asarray(column.astype(str), dtype=np.str_)


def _labels(values: Any, name: str, source: str) -> tuple[Any, int]:
    import numpy as np

    if values.dtype.kind == "f":
        values = _finite(values, name, source)
        if (values != np.rint(values)).any():
            raise OptbenchError(
                f"{source}: column '{name}' contains fractions, so it cannot be a class: use task: regression"
            )
    elif values.dtype.kind not in "iub":
        values = _texts(values, name, source)
    known, labels = np.unique(values, return_inverse=True)
    if len(known) < 2:
        raise OptbenchError(
            f"{source}: column '{name}': expected at least 2 classes; found only {str(known[0])!r}"
        )
    return labels.astype(np.int64), len(known)
