"""Points of a sweep for one entry: its grids, applied to the entry's values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

from optbench.suite.grids import Grid, rounded
from optbench.suite.nested_optimizers import path_of, value_at
from optbench.suite.spaces import MAX_POINTS, Point
from optbench.suite.types import Optimizer

LARGEST = 1e300
#: number of extensions of a grid, by hyperparameter: (below, above)
Extensions = Mapping[str, tuple[int, int]]


def points(
    grids: Mapping[str, Grid],
    entry: Optimizer,
    extensions: Extensions | None = None,
    *,
    with_point_of_entry: bool = False,
) -> list[Point]:
    """Return the Cartesian product of the grids, without the point equal to the entry itself unless `with_point_of_entry`.

    In an entry with several rules the names are `0.lr`, `1.lr`. Raises `ValueError`, with a message for users, if a grid cannot
    be applied to this entry.
    """
    axes = [_axis(name, grid, entry, (extensions or {}).get(name, (0, 0))) for name, grid in grids.items()]
    if math.prod(map(len, axes)) > MAX_POINTS:
        raise ValueError(f"expected at most {MAX_POINTS:,} points; found {math.prod(map(len, axes)):,}")
    product = []
    for combination in itertools.product(*axes):
        point = {key: value for part in combination for key, value in part.items()}
        if with_point_of_entry or not is_point_of_entry(point, entry):
            product.append(point)
    return product


def point_of_entry(grids: Mapping[str, Grid], entry: Optimizer) -> Point:
    """Return the entry's values of the swept hyperparameters, without those left to the defaults of the class."""
    values = {}
    for name in grids:
        for position, rule in enumerate(entry.rules):
            value = value_at(path_of(name, rule.arguments), rule.arguments)
            if value is not None:
                values[(name if len(entry.rules) == 1 else f"{position}.{name}")] = value
    return values


def _axis(name: str, grid: Grid, entry: Optimizer, extended: tuple[int, int]) -> list[Point]:
    entry_values = point_of_entry({name: grid}, entry)
    if grid.is_relative and not entry_values:
        raise ValueError(f"factors of '{name}' require a value to multiply: set '{name}' in this entry")
    for key, value in entry_values.items() if grid.is_relative else ():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < LARGEST:
            raise ValueError(f"factors require a number above 0; found {value} for '{key}' in this entry")
    if not grid.is_relative and len(entry.rules) > 1:
        raise ValueError(
            f"an entry with several rules has several values of '{name}': expected factors, as in {{{name}: [0.1, 1, 10]}}"
        )
    if any(
        name in group.arguments and name not in rule.arguments
        for rule in entry.rules
        for group in rule.groups
    ):
        raise ValueError(
            f"groups keep the ratio of their '{name}' to that of the optimizer: set '{name}' beside 'groups'"
        )
    numbers = grid.numbers(*extended)
    if not grid.is_relative:
        return [{name: number} for number in numbers]
    scaled = [{key: rounded(value * number) for key, value in entry_values.items()} for number in numbers]
    if not all(0 < value < LARGEST for point in scaled for value in point.values()):
        raise ValueError(f"the factors of '{name}' exceed the range of numbers, 0 to {LARGEST:g}")
    return scaled


def is_point_of_entry(point: Point, entry: Optimizer) -> bool:
    """Return whether the point equals the entry as written."""
    several = len(entry.rules) > 1
    for key, value in point.items():
        position, name = key.split(".", 1) if several else ("0", key)
        arguments = entry.rules[int(position)].arguments
        entry_value = value_at(path_of(name, arguments), arguments)
        if not isinstance(entry_value, (int, float)) or not math.isclose(entry_value, value, rel_tol=1e-9):
            return False
    return True
