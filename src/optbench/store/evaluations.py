"""Evaluations of a trial as columns, since a report reads a million, and one object each would take a gigabyte."""

from __future__ import annotations

import marshal
import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

from optbench.events import Evaluated

_FIELDS = [name for name in Evaluated.__struct_fields__ if name != "metrics"]
#: columns that the trials of a workload have in common
_COMMON = ("step", "epoch", "samples", "learning_rate")
_EXACT = 2**53  # integers below it are equal as floats

#: a field, or the split and name of a metric
_Key = str | tuple[str, str]
#: where the values of a column are: (constant, value), (common, values), (floats or integers, number of the column in the block),
#: (other, ""), for values of several types
_Place = tuple[str, Any]


class Evaluations(Sequence[Evaluated]):
    """Sequence of evaluations in order of steps. `column` and `metric` return values without creating events.

    Measured numbers are in one array per trial, column after column. The layout has the rest, which other trials can share.
    """

    __slots__ = ("_block", "_layout", "_length", "_others")

    def __init__(
        self,
        length: int,
        layout: dict[_Key, _Place],
        block: array[float],
        others: dict[_Key, tuple[Any, ...]] | None,
    ):
        self._length, self._layout, self._block, self._others = length, layout, block, others

    @classmethod
    def of(cls, events: Iterable[Evaluated]) -> Evaluations:
        known = tuple(events)
        columns: dict[_Key, list[Any]] = {name: [getattr(event, name) for event in known] for name in _FIELDS}
        metrics = [event.metrics for event in known]
        by_name = _by_name(metrics)
        columns.update({"metrics": metrics} if by_name is None else by_name)
        layout: dict[_Key, _Place] = {}
        block, others = array("d"), {}
        for key, values in columns.items():
            layout[key] = place = _place(key, values, len(block) // max(1, len(known)))
            if place[0] in ("floats", "integers"):
                block.extend(values)
            elif place[0] == "other":
                others[key] = tuple(values)
        return cls(len(known), layout, block, others or None)

    def shared(self, known: dict[bytes, Any]) -> Evaluations:
        """Return them with the layout of equal ones in `known`, to save memory."""
        layout = known.setdefault(marshal.dumps(self._layout, 2), self._layout)
        return Evaluations(self._length, layout, self._block, self._others)

    def column(self, name: str) -> Sequence[Any]:
        """Return a field of all evaluations."""
        return self._column(name)

    def metric(self, split: str, name: str) -> Sequence[float]:
        """Return the values of a metric, NaN where it is missing."""
        if "metrics" in self._layout:
            return [of.get(split, {}).get(name, math.nan) for of in self._column("metrics")]
        return self._column((split, name)) if (split, name) in self._layout else (math.nan,) * self._length

    def metrics(self) -> dict[str, list[str]]:
        """Return the names of all metrics, by split."""
        found: dict[str, dict[str, None]] = {}
        for splits in self._column("metrics") if "metrics" in self._layout else ():
            for split, names in splits.items():
                found.setdefault(split, {}).update(dict.fromkeys(names))
        for key in self._layout:
            if isinstance(key, tuple):
                found.setdefault(key[0], {})[key[1]] = None
        return {split: list(names) for split, names in found.items()}

    def is_copy_of(self, other: Evaluations) -> bool:
        """Return whether both are equal, with NaN equal to NaN, without creating events."""
        mine, theirs = (self._layout, self._others), (other._layout, other._others)
        same = self._length == other._length and self._block.tobytes() == other._block.tobytes()
        return same and repr(mine) == repr(theirs)  # unlike ==, it takes NaN for NaN

    def _column(self, key: _Key) -> Sequence[Any]:
        kind, value = self._layout[key]
        if kind in ("floats", "integers"):
            numbers = self._block[value * self._length : (value + 1) * self._length]
            return numbers if kind == "floats" else array("q", map(int, numbers))
        if kind == "common":
            return value  # type: ignore[no-any-return]
        if kind == "constant":
            return (value,) * self._length
        assert self._others is not None
        return self._others[key]

    def _value(self, key: _Key, row: int) -> Any:
        kind, value = self._layout[key]
        if kind == "constant":
            return value
        if kind == "common":
            return value[row]
        if kind == "other":
            return self._column(key)[row]
        number = self._block[value * self._length + row]
        return number if kind == "floats" else int(number)

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
        metrics: dict[str, dict[str, float]] = {}
        for key in self._layout:
            if isinstance(key, tuple):
                metrics.setdefault(key[0], {})[key[1]] = self._value(key, row)
        if "metrics" in self._layout:
            metrics = self._value("metrics", row)
        return Evaluated(**{name: self._value(name, row) for name in _FIELDS}, metrics=metrics)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (Evaluations, tuple)) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(self._length)

    def __repr__(self) -> str:
        return repr(tuple(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return Evaluations, (self._length, self._layout, self._block, self._others)


def _place(key: _Key, values: list[Any], position: int) -> _Place:
    """Return where the values of a column are; `position` is that of the next column of the block."""
    kinds = set(map(type, values))
    if kinds <= {type(None)} or (kinds == {int} and not any(values)):
        return "constant", values[0] if values else None
    if key in _COMMON and kinds <= {int, float}:
        return "common", tuple(values)
    if kinds == {float}:
        return "floats", position
    if kinds == {int} and max(map(abs, values)) < _EXACT:
        return "integers", position
    return "other", ""


def _by_name(metrics: list[dict[str, dict[str, float]]]) -> dict[_Key, list[Any]] | None:
    """Return columns by split and name; None if not all evaluations have the same, or a split has none."""
    first = metrics[0] if metrics else {}
    names = {split: of.keys() for split, of in first.items()}
    if any({split: row.keys() for split, row in of.items()} != names for of in metrics):
        return None
    if not all(names.values()):
        return None
    return {
        (split, name): [row[split][name] for row in metrics] for split, of in names.items() for name in of
    }
