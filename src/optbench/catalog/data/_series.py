"""Windows of a time series: past values as inputs, future ones as targets, split by time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from optbench.catalog.data._columns import check_finite, check_varies, numbers_of
from optbench.catalog.types import DataInfo, Split, Splits
from optbench.errors import OptbenchError, nearest
from optbench.plurals import counted

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_SHARES = (0.7, 0.15, 0.15)  # of the series, in order of time: training, validation, test


def splits(
    columns: Mapping[str, Any],
    target: str,
    window: int,
    horizon: int,
    source: str,
    fingerprint: str = "",
    *,
    missing: Literal["error", "previous"] = "error",
) -> Splits:
    """Return windows (n, window, features) and the next `horizon` values of the target (n, horizon).

    `missing: previous` replaces missing values by the last known one, so that nothing is taken from the future.
    No window crosses from one split into another. Columns are standardised by the training part; feature 0 is the target. Raises
    `OptbenchError` with column and row of a missing value, and for a series that is too short.
    """
    import numpy as np
    from numpy.lib.stride_tricks import sliding_window_view

    if target not in columns:
        raise OptbenchError(f"target: {source} has no column '{target}'; {nearest(target, columns)}")
    names = [target, *(name for name in columns if name != target)]
    numbers = {name: numbers_of(columns[name], name, source) for name in names}
    notes: tuple[str, ...] = ()
    if missing == "previous":
        count = sum(int(np.isnan(column).sum()) for column in numbers.values())
        notes = (
            (f"{source}: {counted(count, 'missing value')} replaced by the previous one",) if count else ()
        )
        numbers = {name: _filled(column) for name, column in numbers.items()}
    elif missing != "error":
        raise OptbenchError(f"missing: expected error or previous; found {missing!r}")
    fix = "set missing: previous, fill" if missing == "error" else "no value precedes it: fill"
    for name, column in numbers.items():
        check_finite(column, name, source, f"{fix} or remove them")
    check_varies(numbers[target], target, source)
    values = np.stack(list(numbers.values()), axis=1)
    ends = [int(sum(_SHARES[: number + 1]) * len(values)) for number in range(2)]
    training = values[: ends[0]]
    if min(ends[0], ends[1] - ends[0], len(values) - ends[1]) < window + horizon:
        raise OptbenchError(
            f"{source}: {len(values)} rows are too few for a window of {window} and a horizon of {horizon}: each of training, "
            f"validation and test (70, 15 and 15 %) needs at least {window + horizon}"
        )
    std = training.std(0)
    scaled = ((values - training.mean(0)) / np.where(std > 0, std, 1.0)).astype(np.float32)
    parts = []
    for part in (scaled[: ends[0]], scaled[ends[0] : ends[1]], scaled[ends[1] :]):
        whole = sliding_window_view(part, window + horizon, axis=0)  # (n, features, window + horizon)
        inputs = whole[:, :, :window].transpose(0, 2, 1)
        parts.append(Split(np.ascontiguousarray(inputs), np.ascontiguousarray(whole[:, 0, window:])))
    series = scaled[: ends[0], 0].astype(np.float64)
    facts = {"naive_error": float(np.abs(np.diff(series)).mean()) or 1.0}
    sizes = [part.samples for part in parts]
    shape = (window, len(names))
    info = DataInfo(sizes[0], sizes[1], sizes[2], shape, horizon, source, fingerprint, "forecasting", facts)
    return Splits(parts[0], parts[1], parts[2], info, notes=notes)


def _filled(column: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the column with each missing value replaced by the last known one; those at its start stay missing."""
    import numpy as np

    known = np.where(np.isnan(column), 0, np.arange(len(column)))
    return column[np.maximum.accumulate(known)]
