"""Search spaces in the entries of a suite (`lr: {log: [1e-4, 1e-1]}`), and the points that are tried."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field, model_validator

from optbench.suite.amounts import Duration, Strict, Whole
from optbench.suite.quoting import shown

KINDS = ("log", "uniform", "one_minus_log", "integer", "choice")
#: maximum number of tuned hyperparameters of an entry
MAX_DIMENSIONS = 16
#: minimum of the seeds of tuning trials; the seeds of a suite with tuning are below it
TUNING_SEED = 2**31
MAX_STUDIES = 100
_DIGITS = 6

Point = dict[str, Any]
Sampler = Literal["quasi_random", "random"]


class Tuning(Strict):
    """How the entries that have search spaces are tuned: the same number of trials and the same budget for each."""

    trials: Whole = Field(ge=2, le=10_000)
    """Number of tuning trials per optimizer, workload and study. More trials continue a study: the first ones are the same."""
    studies: Whole = Field(default=1, ge=1, le=MAX_STUDIES)
    """Number of repeated studies, each with its own points and its own selected settings. The seeds of the suite are distributed over
    the studies in turn, so that intervals include the variation of tuning."""
    sampler: Sampler = "quasi_random"
    """How points are chosen: `quasi_random` (scrambled Halton sequence) or `random`. All entries use the same points of the unit cube."""
    budget: Duration | None = None
    """Training length of a tuning trial. Default: the budget of the workload."""
    metric: str | None = Field(default=None, min_length=1)
    """Metric by which the best trial is selected, on the validation split at the end of training. Default: the first metric."""
    seed: Whole = Field(default=0, ge=0, lt=2**32)
    """Seed of the points."""

    @model_validator(mode="after")
    def _fixed_length(self) -> Tuning:
        if self.budget is not None and self.budget.unit == "seconds":
            raise ValueError(
                "budget: expected epochs or steps; found seconds: a busy machine would change the selection"
            )
        return self


@dataclass(frozen=True)
class Space:
    """The values of one hyperparameter."""

    kind: str
    values: tuple[Any, ...]
    """Minimum and maximum, or the choices."""

    def at(self, unit: float) -> Any:
        """Return the value at a position from 0 to 1."""
        if self.kind == "choice":
            return self.values[min(int(unit * len(self.values)), len(self.values) - 1)]
        low, high = self.values
        if self.kind == "integer":
            return int(min(low + math.floor(unit * (high - low + 1)), high))
        if self.kind == "uniform":
            return _rounded(low + unit * (high - low))
        value = math.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
        return _rounded(1 - value if self.kind == "one_minus_log" else value)


def is_space(value: Any) -> bool:
    """Return whether the value of an argument is written as a space: a mapping with one key among `KINDS`."""
    return isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in KINDS


def has_space(value: Any) -> bool:
    """Return whether the value is a space, or a list that contains one."""
    return is_space(value) or (isinstance(value, (list, tuple)) and any(map(is_space, value)))


def spaces_in(value: Any) -> Iterator[Space]:
    """Yield the spaces of an argument. Raises `ValueError` for an invalid one."""
    if is_space(value):
        kind, values = next(iter(value.items()))
        yield _space(kind, values)
    elif isinstance(value, (list, tuple)):
        for item in value:
            if is_space(item):
                yield from spaces_in(item)


def filled(value: Any, units: Iterator[float]) -> Any:
    """Return an argument with its spaces replaced by their values at the next positions."""
    if is_space(value):
        return next(spaces_in(value)).at(next(units))
    if isinstance(value, (list, tuple)):
        return [filled(item, units) if is_space(item) else item for item in value]
    return value


def trial_seed(study: int, repeat: int) -> int:
    """Return the training seed of a tuning trial, from `TUNING_SEED` on. `repeat`: how often its study had this point before."""
    return TUNING_SEED + repeat * MAX_STUDIES + study


@lru_cache(maxsize=32)
def unit_points(sampler: Sampler, seed: int, count: int, study: int = 0) -> tuple[tuple[float, ...], ...]:
    """Return the first points of the unit cube, with `MAX_DIMENSIONS` coordinates: point i depends on seed, study and i only."""
    import numpy as np

    if sampler == "random":
        random = np.random.RandomState([seed, study] if study else seed)
        values = random.random_sample((count, MAX_DIMENSIONS))
    else:
        from scipy.stats.qmc import Halton

        halton = Halton(
            MAX_DIMENSIONS, scramble=True, rng=np.random.default_rng([seed, study] if study else seed)
        )
        values = halton.random(count)
    return tuple(map(tuple, values.tolist()))


def _space(kind: str, values: Any) -> Space:
    if kind == "choice":
        if not isinstance(values, (list, tuple)) or len(values) < 2:
            raise ValueError(
                f"expected at least two choices, as in {{choice: [0.9, 0.95]}}; found {shown(values)}"
            )
        if len({repr(value) for value in values}) < len(values):
            raise ValueError("expected distinct choices; found a duplicate")
        return Space(kind, tuple(values))
    example = {"integer": "[1, 10]", "uniform": "[0, 1]", "one_minus_log": "[1e-3, 0.3]"}.get(
        kind, "[1e-4, 1]"
    )
    ends = values if isinstance(values, (list, tuple)) and len(values) == 2 else ()
    if not ends or not all(_is_number(end) for end in ends):
        raise ValueError(f"expected [minimum, maximum], as in {{{kind}: {example}}}; found {shown(values)}")
    low, high = ends
    if kind == "integer" and not (isinstance(low, int) and isinstance(high, int)):
        raise ValueError(f"expected whole numbers, as in {{integer: {example}}}; found {low} and {high}")
    if kind in ("log", "one_minus_log") and low <= 0:
        raise ValueError(f"expected a minimum above 0, since the scale is logarithmic; found {low:g}")
    if kind == "one_minus_log" and high >= 1:
        raise ValueError(
            f"expected a maximum below 1: the value is 1 minus a number from this range; found {high:g}"
        )
    if not low < high:
        raise ValueError(f"expected a minimum below the maximum; found {low:g} and {high:g}")
    return Space(kind, (low, high))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def spaces_of(arguments: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Space, ...]]:
    """Return the spaces of an entry's rules by hyperparameter (`lr`; `0.lr` in an entry with several rules).

    Raises `ValueError`, with the name of the hyperparameter, for an invalid space and for more than `MAX_DIMENSIONS`.
    """
    found: dict[str, tuple[Space, ...]] = {}
    for position, of_rule in enumerate(arguments):
        for name, value in of_rule.items():
            if not has_space(value):
                continue
            key = name if len(arguments) == 1 else f"{position}.{name}"
            try:
                found[key] = tuple(spaces_in(value))
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
    count = sum(map(len, found.values()))
    if count > MAX_DIMENSIONS:
        raise ValueError(f"expected at most {MAX_DIMENSIONS} search spaces; found {count}")
    return found


def point_at(arguments: Sequence[Mapping[str, Any]], units: Sequence[float]) -> Point:
    """Return the values of all arguments with spaces, at a point of the unit cube."""
    position, point = iter(units), {}
    for number, of_rule in enumerate(arguments):
        for name, value in of_rule.items():
            if has_space(value):
                point[name if len(arguments) == 1 else f"{number}.{name}"] = filled(value, position)
    return point
