"""Search spaces in the arguments of an entry (`lr: {log: [1e-4, 1e-1]}`), which may be nested in lists, mappings and choices."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optbench.suite.value_formatting import format_value

KINDS = ("log", "uniform", "one_minus_log", "integer", "choice")
#: maximum number of values of a grid
MAX_POINTS = 10_000
#: maximum number of tuned hyperparameters of an entry
MAX_DIMENSIONS = 16
#: error message for a space that is not in an argument of an optimizer
MISPLACED = (
    "expected a value; found a search space: only arguments of optimizers can be tuned. 'axes' compares values of other settings, as "
    "in axes: {workload.batch_size: [32, 64]}"
)
_DIGITS = 6
#: minimum of a `one_minus_log` space; the distance of the last float below 1 from 1 is about 1e-16
_MIN_ONE_MINUS = 1e-12
_EXAMPLES = {"integer": "[1, 10]", "uniform": "[0, 1]", "one_minus_log": "[1e-3, 0.3]", "log": "[1e-4, 1]"}

Point = dict[str, Any]


class FieldError(ValueError):
    """An invalid value below the validated one, at the typed path `location` from there."""

    def __init__(self, message: str, *location: str | int) -> None:
        super().__init__(message)
        self.location = location


@dataclass(frozen=True)
class Space:
    """The values of one hyperparameter."""

    kind: str
    values: tuple[Any, ...]
    """Minimum and maximum, or the choices; a choice may contain further spaces."""
    points: int | None = None
    """Number of evenly spaced values, if the space is discrete by `points:`."""

    @property
    def count(self) -> int | None:
        """Number of values; None for a continuous space."""
        if self.kind == "choice":
            return len(self.values)
        if self.kind == "integer" and self.points is None:
            return int(self.values[1] - self.values[0]) + 1
        return self.points

    def index(self, unit: float) -> int:
        """Return the number of the value at a position from 0 to 1, for a discrete space."""
        assert self.count is not None
        return min(int(unit * self.count), self.count - 1)

    def at(self, unit: float) -> Any:
        """Return the value at a position from 0 to 1."""
        if self.kind == "choice":
            return self.values[self.index(unit)]
        low, high = self.values
        if self.kind == "integer" and self.points is None:
            return low + self.index(unit)
        if self.points is not None:  # the first and the last value are the ends
            unit = self.index(unit) / (self.points - 1)
        if self.kind in ("uniform", "integer"):
            value = low + unit * (high - low)
            return round(value) if self.kind == "integer" else rounded(value)
        value = math.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
        return one_minus(value) if self.kind == "one_minus_log" else rounded(value)

    def end(self, *, upper: bool) -> float:
        """Return the value at the upper or lower end of the written range. Not for choices."""
        number = self.values[1 if upper else 0]
        return one_minus(number) if self.kind == "one_minus_log" else float(number)

    def position(self, value: float) -> float:
        """Return the position of a value from 0 to 1; for a discrete space from the first to the last value. Not for choices."""
        low, high = self.values
        if self.kind in ("uniform", "integer"):
            return float((value - low) / (high - low))
        number = 1 - value if self.kind == "one_minus_log" else value
        return (math.log(number) - math.log(low)) / (math.log(high) - math.log(low))


def is_space(value: Any) -> bool:
    """Return whether a value is written as a space: a mapping with one key among `KINDS`, and possibly `points`."""
    if not isinstance(value, Mapping):
        return False
    keys = set(value) - {"points"}
    return len(keys) == 1 and next(iter(keys)) in KINDS


def has_space(value: Any) -> bool:
    """Return whether the value is a space, or contains one."""
    return is_space(value) or any(map(has_space, _parts(value)))


def spaces_in(value: Any) -> Iterator[Space]:
    """Yield the spaces of an argument, also those inside of choices. Raises `ValueError` for an invalid one."""
    if is_space(value):
        space = parse_space(value)
        yield space
        for option in space.values if space.kind == "choice" else ():
            yield from spaces_in(option)
    else:
        for part in _parts(value):
            yield from spaces_in(part)


def fill_spaces(value: Any, choose: Callable[[int, Space], float], first: int = 0) -> Any:
    """Return an argument with its spaces replaced by values.

    `choose(number, space)` returns the position from 0 to 1 of each space that is used, in order; numbers count from `first` and include
    the spaces of choices that are not taken.
    """
    if is_space(value):
        space = parse_space(value)
        if space.kind != "choice":
            return space.at(choose(first, space))
        chosen, first = space.index(choose(first, space)), first + 1
        first += sum(map(_dimensions, space.values[:chosen]))
        return fill_spaces(space.values[chosen], choose, first)
    if not has_space(value):
        return value
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    made = {}
    for key, part in items:
        made[key] = fill_spaces(part, choose, first)
        first += _dimensions(part)
    return made if isinstance(value, Mapping) else list(made.values())


def positions(value: Any, written: Any) -> Iterator[tuple[Space, float]]:
    """Yield the spaces that a filled argument uses, with the position of its value in each.

    `written`: the argument with its spaces. A choice has the position 0.5.
    """
    if is_space(written):
        space = parse_space(written)
        if space.kind != "choice":
            yield space, space.position(value)
            return
        yield space, 0.5
        for option in space.values:
            if fits(value, option):
                yield from positions(value, option)
                return
    elif has_space(written):
        pairs = (
            ((value[key], part) for key, part in written.items())
            if isinstance(written, Mapping)
            else zip(value, written, strict=True)
        )
        for inner, part in pairs:
            yield from positions(inner, part)


def grid_size(value: Any) -> int:
    """Return the number of combinations of an argument. Raises `ValueError` for a continuous space."""
    if is_space(value):
        space = parse_space(value)
        if space.kind == "choice":
            return sum(map(grid_size, space.values))
        if space.count is None:
            example = f"{{{space.kind}: {_EXAMPLES[space.kind]}, points: 5}}"
            raise ValueError(f"a grid needs the number of points of each space, as in {example}")
        return space.count
    return math.prod(map(grid_size, _parts(value)))


def grid(value: Any) -> list[tuple[float, ...]]:
    """Return the positions of all combinations of an argument, one number per space. Raises `ValueError` as `grid_size`."""
    if is_space(value):
        space, n = parse_space(value), grid_size(value)
        if space.kind != "choice":
            return [((index + 0.5) / n,) for index in range(n)]
        sizes = [_dimensions(option) for option in space.values]
        points = []
        for chosen, option in enumerate(space.values):
            before, after = (0.5,) * sum(sizes[:chosen]), (0.5,) * sum(sizes[chosen + 1 :])
            position = (chosen + 0.5) / len(sizes)
            points += [(position, *before, *units, *after) for units in grid(option)]
        return points
    combined = itertools.product(*map(grid, _parts(value)))
    return [tuple(itertools.chain.from_iterable(units)) for units in combined]


def spaces_of(arguments: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Space, ...]]:
    """Return the spaces of an entry's rules by hyperparameter (`lr`; `0.lr` in an entry with several rules).

    Raises `FieldError`, with the typed path of the argument, for an invalid space, and `ValueError` for more than `MAX_DIMENSIONS`.
    """
    spaces_by_name: dict[str, tuple[Space, ...]] = {}
    for key, value in tuned_arguments(arguments).items():
        try:
            spaces_by_name[key] = tuple(spaces_in(value))
        except ValueError as error:
            rule, name = (0, key) if len(arguments) == 1 else key.split(".", 1)
            raise FieldError(str(error), "rules", int(rule), "arguments", name) from None
    count = sum(map(len, spaces_by_name.values()))
    if count > MAX_DIMENSIONS:
        raise ValueError(f"expected at most {MAX_DIMENSIONS} search spaces; found {count}")
    return spaces_by_name


def tuned_arguments(arguments: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the arguments of an entry's rules that contain spaces, by hyperparameter as in `spaces_of`."""
    return {
        name if len(arguments) == 1 else f"{position}.{name}": value
        for position, of_rule in enumerate(arguments)
        for name, value in of_rule.items()
        if has_space(value)
    }


def point_at(arguments: Sequence[Mapping[str, Any]], choose: Callable[[int, Space], float]) -> Point:
    """Return the values of all arguments with spaces. For `choose` see `fill_spaces`."""
    tuned = tuned_arguments(arguments)
    made: Point = fill_spaces(tuned, choose)
    return made


def parse_space(value: Mapping[str, Any]) -> Space:
    """Return a written space. Raises `ValueError` for an invalid one."""
    kind = next(key for key in value if key != "points")
    values, points = value[kind], value.get("points")
    if kind == "choice":
        if points is not None:
            raise ValueError("expected no 'points' with 'choice'")
        if not isinstance(values, (list, tuple)) or len(values) < 2:
            raise ValueError(
                f"expected at least two choices, as in {{choice: [0.9, 0.95]}}; found {_found(values)}"
            )
        if len({repr(float(choice) if is_number(choice) else choice) for choice in values}) < len(values):
            raise ValueError("expected distinct choices; found a duplicate")
        return Space(kind, tuple(values))
    if "points" in value and (
        not isinstance(points, int) or isinstance(points, bool) or not 2 <= points <= MAX_POINTS
    ):
        raise ValueError(f"expected 2 to {MAX_POINTS} points; found {format_value(points)}")
    return Space(kind, _ends(kind, values), points)


def written_space(space: Space) -> dict[str, Any]:
    """Return a space as a suite file writes it."""
    points = {} if space.points is None else {"points": space.points}
    return {space.kind: list(space.values), **points}


def _ends(kind: str, values: Any) -> tuple[Any, Any]:
    ends = values if isinstance(values, (list, tuple)) and len(values) == 2 else ()
    if not ends or not all(is_number(end) for end in ends):
        raise ValueError(
            f"expected two numbers, [minimum, maximum], as in {{{kind}: {_EXAMPLES[kind]}}}; found {_found(values)}"
        )
    low, high = ends
    if kind == "integer" and not (isinstance(low, int) and isinstance(high, int)):
        raise ValueError(
            f"expected whole numbers, as in {{integer: {_EXAMPLES[kind]}}}; found {low} and {high}"
        )
    if kind in ("log", "one_minus_log") and low <= 0:
        raise ValueError(f"expected a minimum above 0, since the scale is logarithmic; found {low:g}")
    if kind == "one_minus_log" and high >= 1:
        raise ValueError(
            f"expected a maximum below 1: the value is 1 minus a number from this range; found {high:g}"
        )
    if kind == "one_minus_log" and low < _MIN_ONE_MINUS:
        raise ValueError(
            f"expected a minimum of at least {_MIN_ONE_MINUS:g}: 1 minus a smaller number is rounded to 1; found {low:g}"
        )
    if not low < high:
        raise ValueError(f"expected a minimum below the maximum; found {low:g} and {high:g}")
    if not math.isfinite(high - low):
        raise ValueError(f"expected a range whose width is a finite number; found {low:g} to {high:g}")
    return low, high


def _found(values: Any) -> str:
    """Return what an error message reports for the values of a space."""
    if isinstance(values, (list, tuple)) and values:
        return f"[{', '.join(map(format_value, values))}]" if len(values) <= 3 else f"a list of {len(values)}"
    return format_value(values)


def _parts(value: Any) -> Sequence[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, (list, tuple)) else ()


def _dimensions(value: Any) -> int:
    return sum(1 for _ in spaces_in(value))


def fits(value: Any, written: Any) -> bool:
    """Return whether a value may have been made from what is written."""
    if is_space(written):
        space = parse_space(written)
        if space.kind == "choice":
            return any(fits(value, option) for option in space.values)
        if not is_number(value):
            return False
        low, high = sorted((space.at(0.0), space.at(1.0)))
        return bool(low <= value <= high)
    if isinstance(written, Mapping):
        return (
            isinstance(value, Mapping)
            and set(value) == set(written)
            and all(fits(value[key], part) for key, part in written.items())
        )
    if isinstance(written, (list, tuple)):
        return (
            isinstance(value, (list, tuple)) and len(value) == len(written) and all(map(fits, value, written))
        )
    return bool(value == written)


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number; a boolean is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def rounded(value: float) -> float:
    """Return a value as samplers return it, with 6 significant digits."""
    return float(f"{value:.{_DIGITS}g}")


def one_minus(number: float) -> float:
    """Return 1 minus a number, with as many digits that the number itself has at least 3."""
    return float(f"{1 - number:.{max(_DIGITS, 2 - math.floor(math.log10(number)))}g}")
