"""Grids over a hyperparameter, as a suite writes them."""

from __future__ import annotations

import math
from typing import Any

from pydantic import Field, model_validator

from optbench.suite.amounts import Number, Strict, Whole

MAX_POINTS = 10_000
#: how often a grid may grow when an optimum lies at its edge (decision 10)
MAX_EXTENSIONS = 2


class Grid(Strict):
    """Values of one hyperparameter: `[0.01, 0.1, 1, 10, 100]` are factors around each entry's own value."""

    factors: tuple[Number, ...] | None = None
    """Multiples of each entry's own value."""
    values: tuple[Number, ...] | None = None
    """The same values for all entries."""
    log: tuple[Number, Number] | None = None
    """Least and greatest value, with `points` values evenly apart on a logarithmic scale."""
    points: Whole | None = Field(default=None, ge=2, le=MAX_POINTS)
    """How many, with `log`."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        return {"factors": raw} if isinstance(raw, (list, tuple)) else raw

    @model_validator(mode="after")
    def _one(self) -> Grid:
        given = [name for name in ("factors", "values", "log") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"expected exactly one of 'factors', 'values' and 'log'; found {', '.join(given) or 'none'}"
            )
        if (self.log is None) != (self.points is None):
            raise ValueError("'log' and 'points' go together, as in {log: [1e-4, 1], points: 13}")
        numbers = self.factors or self.values or self.log or ()
        if len(numbers) < 2:
            raise ValueError(f"expected at least two numbers; found {len(numbers)}")
        if len(set(numbers)) < len(numbers):
            raise ValueError("expected different numbers; found one twice")
        if self.values is None and min(numbers) <= 0:
            raise ValueError(f"expected numbers above 0; found {min(numbers):g}")
        if self.log is not None and self.log[0] > self.log[1]:
            raise ValueError("expected [least, greatest]; found them the other way round")
        return self

    @property
    def is_relative(self) -> bool:
        return self.factors is not None

    def numbers(self, below: int = 0, above: int = 0) -> tuple[float, ...]:
        """In ascending order, with a decade (at least a point) more on a side for each extension of that side.

        A grid that holds 0 or negative numbers has no logarithmic spacing and is not extended.
        """
        if self.log is not None and self.points is not None:
            low, high = map(math.log10, self.log)
            step = (high - low) / (self.points - 1)
            numbers = [rounded(10 ** (low + step * index)) for index in range(self.points)]
        else:
            numbers = sorted(self.factors or self.values or ())
        if numbers[0] <= 0:
            return tuple(numbers)
        for _ in range(below):
            numbers = [*_decade(numbers[0], numbers[0] / numbers[1]), *numbers]
        for _ in range(above):
            numbers = [*numbers, *_decade(numbers[-1], numbers[-1] / numbers[-2])]
        return tuple(sorted(numbers))


def _decade(edge: float, ratio: float) -> list[float]:
    """Points beyond `edge`, spaced as the grid is there, until a decade is covered."""
    count = max(1, round(1 / abs(math.log10(ratio))))
    beyond = (rounded(edge * ratio**step) for step in range(1, count + 1))
    return [number for number in beyond if 0 < number < math.inf]


def rounded(number: float) -> float:
    """Twelve digits: 0.1 x 0.3 shall be 0.03, whatever way it was computed."""
    return float(f"{number:.12g}")
