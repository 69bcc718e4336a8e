"""Grids of values of one hyperparameter (`sensitivity:`)."""

from __future__ import annotations

import math
from typing import Any

from pydantic import Field, model_validator

from optbench.suite.field_types import Flag, Number, Strict, Whole, expect_one_of
from optbench.suite.spaces import MAX_POINTS

#: maximum number of extensions when an optimum is at the edge of a grid (decision 10)
MAX_EXTENSIONS = 2


class Grid(Strict):
    """Values of one hyperparameter. A list, such as `[0.01, 0.1, 1, 10, 100]`, contains factors of each entry's value."""

    factors: tuple[Number, ...] | None = None
    """Factors by which the value of each entry is multiplied."""
    values: tuple[Number, ...] | None = None
    """Values, the same for all entries."""
    log: tuple[Number, Number] | None = None
    """Minimum and maximum of `points` values that are evenly spaced on a logarithmic scale."""
    points: Whole | None = Field(default=None, ge=2, le=MAX_POINTS)
    """Number of values, with `log`."""
    extend: Flag = True
    """Whether the grid grows, for all entries alike, if the best point is at its edge. false: the values stay as written."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        return {"factors": raw} if isinstance(raw, (list, tuple)) else raw

    @model_validator(mode="after")
    def _one(self) -> Grid:
        expect_one_of(self, "factors", "values", "log")
        if (self.log is None) != (self.points is None):
            raise ValueError("expected both 'log' and 'points', as in {log: [1e-4, 1], points: 13}")
        numbers = self.factors or self.values or self.log or ()
        if len(numbers) < 2:
            raise ValueError(f"expected at least two numbers; found {len(numbers)}")
        if len(set(numbers)) < len(numbers):
            raise ValueError("expected distinct numbers; found a duplicate")
        if self.values is None and min(numbers) <= 0:
            raise ValueError(f"expected numbers above 0; found {min(numbers):g}")
        if self.log is not None and self.log[0] > self.log[1]:
            raise ValueError("expected [minimum, maximum]; found the maximum first")
        return self

    @property
    def is_relative(self) -> bool:
        """Whether the numbers are factors of each entry's value."""
        return self.factors is not None

    def numbers(self, below: int = 0, above: int = 0) -> tuple[float, ...]:
        """Return the numbers in ascending order.

        `below` and `above` are the numbers of extensions on each side; an extension adds a decade, but at least one point. A
        grid with zero or negative numbers has no logarithmic spacing and is not extended.
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
    """Return points beyond `edge`, at the spacing of the grid near it, until a decade is covered."""
    count = max(1, round(1 / abs(math.log10(ratio))))
    beyond = (rounded(edge * ratio**step) for step in range(1, count + 1))
    return [number for number in beyond if 0 < number < math.inf]


def rounded(number: float) -> float:
    """Round to twelve significant digits, so that 0.1 x 0.3 is 0.03 regardless of how it was computed."""
    return float(f"{number:.12g}")
