"""Evaluations of a trial as columns, since a report reads a million, and one object each would take a gigabyte."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

from optbench.events import Evaluated

_FIELDS = [name for name in Evaluated.__struct_fields__ if name != "metrics"]

#: packed values of a column: an array if all are of one type, one value if all are equal, otherwise a tuple
_Column = Any


class Evaluations(Sequence[Evaluated]):
    """Sequence of evaluations in order of steps. `column` and `metric` return values without creating events."""

    __slots__ = ("_columns", "_length", "_metrics")

    def __init__(
        self,
        length: int,
        columns: dict[str, _Column],
        metrics: dict[str, dict[str, _Column]] | tuple[Any, ...],
    ):
        self._length, self._columns = length, columns
        self._metrics = (
            metrics  # columns by split and name; a tuple of dicts where not every evaluation has the same
        )

    @classmethod
    def of(cls, events: Iterable[Evaluated]) -> Evaluations:
        known = tuple(events)
        columns = {name: _packed([getattr(event, name) for event in known]) for name in _FIELDS}
        metrics = [event.metrics for event in known]
        return cls(len(known), columns, _by_name(metrics) or tuple(metrics))

    def column(self, name: str) -> Sequence[Any]:
        """Return a field of all evaluations."""
        return self._unpacked(self._columns[name])

    def metric(self, split: str, name: str) -> Sequence[float]:
        """Return the values of a metric, NaN where it is missing."""
        if isinstance(self._metrics, tuple):
            return [of.get(split, {}).get(name, math.nan) for of in self._metrics]
        found = self._metrics.get(split, {}).get(name, math.nan)
        return self._unpacked(found)

    def metrics(self) -> dict[str, list[str]]:
        """Return the names of all metrics, by split."""
        each = self._metrics if isinstance(self._metrics, tuple) else (self._metrics,)
        found: dict[str, dict[str, None]] = {}
        for splits in each:
            for split, names in splits.items():
                found.setdefault(split, {}).update(dict.fromkeys(names))
        return {split: list(names) for split, names in found.items()}

    def is_copy_of(self, other: Evaluations) -> bool:
        """Return whether both are equal, with NaN equal to NaN, without creating events."""
        mine, their = (self._columns, self._metrics), (other._columns, other._metrics)
        return self._length == other._length and _same(mine, their)

    def _unpacked(self, column: _Column) -> Sequence[Any]:
        return column if isinstance(column, (array, tuple)) else (column,) * self._length

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Evaluated: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Evaluated, ...]: ...
    def __getitem__(self, index: int | slice) -> Evaluated | tuple[Evaluated, ...]:
        if isinstance(index, slice):
            return tuple(self._at(row) for row in range(*index.indices(self._length)))
        row = index + self._length if index < 0 else index
        if not 0 <= row < self._length:
            raise IndexError(f"evaluation {index} of {self._length}")
        return self._at(row)

    def __iter__(self) -> Iterator[Evaluated]:
        return map(self._at, range(self._length))

    def _at(self, row: int) -> Evaluated:
        def value(column: _Column) -> Any:
            return column[row] if isinstance(column, (array, tuple)) else column

        metrics = self._metrics
        return Evaluated(
            **{name: value(column) for name, column in self._columns.items()},
            metrics=metrics[row]
            if isinstance(metrics, tuple)
            else {
                split: {name: value(column) for name, column in of.items()} for split, of in metrics.items()
            },
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (Evaluations, tuple)) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(self._length)

    def __repr__(self) -> str:
        return repr(tuple(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return Evaluations, (self._length, self._columns, self._metrics)


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, array):
        return bool(one.typecode == other.typecode and one.tobytes() == other.tobytes())
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return repr(one) == repr(other)  # unlike ==, it takes NaN for NaN


def _packed(values: list[Any]) -> _Column:
    kinds = set(map(type, values))
    if len(kinds) == 1 and kinds <= {type(None), int} and values.count(values[0]) == len(values):
        return values[0]
    try:
        if kinds == {float}:
            return array("d", values)
        if kinds == {int}:
            return array("q", values)
    except OverflowError:
        pass  # of an event that was never stored
    return tuple(values)


def _by_name(metrics: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, _Column]] | None:
    """Return columns by split and name; None if not all evaluations have the same."""
    first = metrics[0] if metrics else {}
    names = {split: of.keys() for split, of in first.items()}
    if any({split: row.keys() for split, row in of.items()} != names for of in metrics):
        return None
    return {
        split: {name: _packed([row[split][name] for row in metrics]) for name in of}
        for split, of in names.items()
    }
