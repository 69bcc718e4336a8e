"""Evaluations of a trial as columns, since a report reads a million, and one object each would take a gigabyte."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, overload

from optbench.events import Evaluated
from optbench.store.records import LATER_FIELDS, NON_FINITE, TYPES, Corrupt, fitting

_FIELDS = {name: kinds for name, kinds in TYPES[Evaluated].items() if name != "metrics"}
_LATER = LATER_FIELDS[Evaluated]
_NUMBERS = (int, float)

#: packed values of a column: an array where all are of one type, one value where all are the same, else as they are
_Column = Any


class Evaluations(Sequence[Evaluated]):
    """In order of steps. Events are made when asked for; `column` and `metric` give what is behind them at once."""

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
        columns = {name: _packed([getattr(event, name) for event in known]) for name in (*_FIELDS, *_LATER)}
        metrics = [event.metrics for event in known]
        return cls(len(known), columns, _by_name(metrics, lambda values: values) or tuple(metrics))

    @classmethod
    def parsed(cls, contents: Sequence[dict[str, Any]]) -> Evaluations | None:
        """From `evaluated` lines as JSON gives them; None where one is not as it should be, which `to_event` can tell."""
        try:
            columns = {name: [content[name] for content in contents] for name in _FIELDS}
            columns |= {name: [content.get(name) for content in contents] for name in _LATER}
            packed = {
                name: _packed(_checked(values, (_FIELDS | _LATER)[name])) for name, values in columns.items()
            }
            metrics = _by_name(
                [content["metrics"] for content in contents], lambda values: _checked(values, _NUMBERS)
            )
        except (KeyError, TypeError, AttributeError, Corrupt):
            return None
        return None if metrics is None else cls(len(contents), packed, metrics)

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
        event = object.__new__(Evaluated)  # its `__init__` takes longer than all the rest
        values = event.__dict__
        for name, column in self._columns.items():
            values[name] = column[row] if isinstance(column, (array, tuple)) else column
        if isinstance(self._metrics, tuple):
            values["metrics"] = self._metrics[row]
        else:
            values["metrics"] = {
                split: {
                    name: column[row] if isinstance(column, (array, tuple)) else column
                    for name, column in of.items()
                }
                for split, of in self._metrics.items()
            }
        return event

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


def _checked(values: list[Any], allowed: tuple[type, ...]) -> list[Any]:
    """With the names of non-finite numbers read. Raises KeyError, TypeError or `Corrupt` for what is not allowed."""
    kinds = set(map(type, values))
    if int in kinds:
        fitting([min(values), max(values)] if kinds == {int} else values)
    if kinds <= set(allowed):
        return values
    if float not in allowed or not kinds <= {*allowed, str}:
        raise TypeError
    return [NON_FINITE[value] if type(value) is str else value for value in values]


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
        pass  # from 2^63 on: kept as they are
    return tuple(values)


def _by_name(
    metrics: list[dict[str, dict[str, float]]], checked: Callable[[list[Any]], list[Any]]
) -> dict[str, dict[str, _Column]] | None:
    """By split and name; None where they are not the same in all. Raises KeyError, TypeError or AttributeError as `checked` does."""
    first = metrics[0] if metrics else {}
    if any(of.keys() != first.keys() for of in metrics):
        return None
    found: dict[str, dict[str, _Column]] = {}
    for split, names in first.items():
        rows = [of[split] for of in metrics]
        keys = names.keys()
        if any(row.keys() != keys for row in rows):
            return None
        found[split] = {name: _packed(checked([row[name] for row in rows])) for name in names}
    return found
