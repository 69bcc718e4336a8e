"""Test functions of optimization: values, usual starts and minima. Plain arithmetic, for tensors of torch and arrays of NumPy alike.

`x` has the variables along its first axis: (variables,) or (variables, ...) for many points at once. A value has the remaining axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


def rosenbrock(x: Any) -> Any:
    """Return Rosenbrock's valley; minimum 0 at (1, ..., 1) (Rosenbrock 1960, The Computer Journal 3)."""
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum(0)


def beale(x: Any) -> Any:
    """Return Beale's function of two variables; minimum 0 at (3, 0.5)."""
    a, b = x[0], x[1]
    return (1.5 - a + a * b) ** 2 + (2.25 - a + a * b**2) ** 2 + (2.625 - a + a * b**3) ** 2


def rastrigin(x: Any) -> Any:
    """Return Rastrigin's function with many local minima; minimum 0 at the origin."""
    return 10 * len(x) + (x**2 - 10 * _cos(2 * math.pi * x)).sum(0)


def saddle(x: Any) -> Any:
    """Return a function with a saddle at the origin between two minima of value 0 at (+-1, 0, ..., 0)."""
    return (x[0] ** 2 - 1) ** 2 / 4 + (x[1:] ** 2).sum(0) / 2


def double_well(x: Any) -> Any:
    """Return a tilted double well: a local minimum near 1 and a global one near -1, quadratic in the other variables."""
    return (x[0] ** 2 - 1) ** 2 + 0.3 * x[0] + (x[1:] ** 2).sum(0)


def quadratic(x: Any) -> Any:
    """Return half of the squared norm; minimum 0 at the origin."""
    return (x**2).sum(0) / 2


@dataclass(frozen=True)
class Problem:
    """A function with the start of its first variables, and its minima: the last value of each is repeated for further variables."""

    value: Callable[[Any], Any]
    start: tuple[float, ...]
    minima: tuple[tuple[float, ...], ...]


_DOUBLE_WELL_MINIMUM = -1.035579  # root of 4x^3 - 4x + 0.3 below -1
PROBLEMS = {
    "rosenbrock": Problem(rosenbrock, (-1.2, 1.0), ((1.0,),)),
    "beale": Problem(beale, (1.0, 1.0), ((3.0, 0.5),)),
    "rastrigin": Problem(rastrigin, (3.2, 3.2), ((0.0,),)),
    "saddle": Problem(saddle, (0.001, 1.0), ((1.0, 0.0), (-1.0, 0.0))),
    "double_well": Problem(double_well, (1.5, 1.0), ((_DOUBLE_WELL_MINIMUM, 0.0),)),
    "quadratic": Problem(quadratic, (1.0,), ((0.0,),)),
}


def filled(values: Sequence[float], dimension: int) -> list[float]:
    """Return `dimension` values; the last one is repeated."""
    values = list(values)[:dimension]
    return [*values, *[values[-1]] * (dimension - len(values))]


def curvatures(condition: float, dimension: int) -> list[float]:
    """Return the curvatures of a quadratic, from 1 to its condition number in equal ratios."""
    return [condition ** (place / (dimension - 1)) for place in range(dimension)] if dimension > 1 else [1.0]


def _cos(x: Any) -> Any:
    if hasattr(x, "cos"):
        return x.cos()
    import numpy as np

    return np.cos(x)
