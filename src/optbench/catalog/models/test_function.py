"""Test function: parameters only, with the value of a standard function of optimization as loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

TASKS = ("minimisation",)

Function = Callable[[Tensor], Tensor]


def rosenbrock(x: Tensor) -> Tensor:
    """Rosenbrock's valley; minimum 0 at (1, ..., 1) (Rosenbrock 1960, The Computer Journal 3)."""
    return (100 * (x[1:] - x[:-1].square()).square() + (1 - x[:-1]).square()).sum()


def beale(x: Tensor) -> Tensor:
    """Beale's function of two variables; minimum 0 at (3, 0.5)."""
    a, b = x[0], x[1]
    return (1.5 - a + a * b).square() + (2.25 - a + a * b**2).square() + (2.625 - a + a * b**3).square()


def rastrigin(x: Tensor) -> Tensor:
    """Rastrigin's function with many local minima; minimum 0 at the origin."""
    return 10 * len(x) + (x.square() - 10 * torch.cos(2 * math.pi * x)).sum()


def saddle(x: Tensor) -> Tensor:
    """A saddle at the origin between two minima of value 0 at (+-1, 0, ..., 0)."""
    return (x[0].square() - 1).square() / 4 + x[1:].square().sum() / 2


def double_well(x: Tensor) -> Tensor:
    """A tilted double well: a local minimum near 1 and a global one near -1, with the other variables quadratic."""
    return (x[0].square() - 1).square() + 0.3 * x[0] + x[1:].square().sum()


_DOUBLE_WELL_MINIMUM = -1.035579  # root of 4x^3 - 4x + 0.3 below -1
_FUNCTIONS: dict[str, tuple[Function, tuple[float, ...], tuple[tuple[float, ...], ...]]] = {
    # function, start of the first variables, minima (of the first variables; the others repeat the last)
    "rosenbrock": (rosenbrock, (-1.2, 1.0), ((1.0,),)),
    "beale": (beale, (1.0, 1.0), ((3.0, 0.5),)),
    "rastrigin": (rastrigin, (3.2, 3.2), ((0.0,),)),
    "saddle": (saddle, (0.001, 1.0), ((1.0, 0.0), (-1.0, 0.0))),
    "double_well": (double_well, (1.5, 1.0), ((_DOUBLE_WELL_MINIMUM, 0.0),)),
    "quadratic": (lambda x: x.square().sum() / 2, (1.0,), ((0.0,),)),
}


class TestFunction(nn.Module):
    """Returns the value with noise, the value without, and the distance to the nearest minimum, per evaluation."""

    __test__ = False  # not a test of pytest's
    curvatures: Tensor
    minima: Tensor
    evaluations: Tensor

    def __init__(
        self, dimension: int, name: str, start: Sequence[float], condition: float, noise: float, drift: float
    ) -> None:
        super().__init__()
        self.function, usual, minima = _FUNCTIONS[name]
        self.x = nn.Parameter(_filled(start or usual, dimension))
        self.register_buffer("minima", torch.stack([_filled(minimum, dimension) for minimum in minima]))
        exponents = torch.linspace(0, 1, dimension) if dimension > 1 else torch.zeros(1)
        self.register_buffer("curvatures", condition**exponents)
        self.register_buffer("evaluations", torch.zeros((), dtype=torch.int64))
        self.is_quadratic, self.noise, self.drift = name == "quadratic", noise, drift

    def forward(self, noise: Tensor) -> Tensor:
        x: Tensor = self.x
        if self.drift:
            if self.training:
                self.evaluations += 1
            shift = self.drift * self.evaluations.to(x.dtype)
            x = x - shift
        value = self.function(x * self.curvatures.sqrt() if self.is_quadratic else x)
        noisy = value + self.noise * (noise * x).sum(1)  # noise in each component of the gradient
        distance = (x.detach() - self.minima).norm(dim=1).min()
        exact = value.detach().expand_as(noisy)
        return torch.stack([noisy, exact, distance.expand_as(noisy)], dim=1)


def _filled(values: Sequence[float], dimension: int) -> Tensor:
    """Return `dimension` values; the last one is repeated."""
    values = list(values)[:dimension]
    return torch.tensor([*values, *[values[-1]] * (dimension - len(values))], dtype=torch.float32)


def build(
    dimension: int,
    *,
    function: Literal[
        "rosenbrock", "beale", "rastrigin", "saddle", "double_well", "quadratic"
    ] = "rosenbrock",
    start: Sequence[float] = (),
    condition: float = 1.0,
    noise: float = 0.0,
    drift: float = 0.0,
) -> nn.Module:
    """Input noise (batch, dimension), output (batch, 3).

    `start`: first values of the parameters; the last one is repeated. `condition`: condition number of the quadratic, with curvatures
    from 1 to it in equal ratios. `noise`: standard deviation of the noise in each component of the gradient of one evaluation.
    `drift`: distance by which every coordinate of the minimum moves per forward pass of training.
    """
    if function not in _FUNCTIONS:
        raise ValueError(f"function: expected one of {', '.join(_FUNCTIONS)}; found {function!r}")
    if function == "beale" and dimension != 2:
        raise ValueError(f"function: beale has 2 variables; the data have {dimension}")
    if condition < 1:
        raise ValueError(f"condition: expected a number of at least 1; found {condition:g}")
    return TestFunction(dimension, function, start, condition, noise, drift)
