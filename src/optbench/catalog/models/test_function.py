"""Test function: parameters only, with the value of a standard function of optimization as loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from optbench.test_functions import PROBLEMS, filled

TASKS = ("minimisation",)


@dataclass(frozen=True)
class Scale:
    """Factors of the function, each used in turn for `period` forward passes of training; constant if `period` is 0."""

    factors: tuple[float, ...] = (1.0,)
    period: int = 0


class TestFunction(nn.Module):
    """Returns the value with noise, the value without, and the distance to the nearest minimum, per evaluation."""

    __test__ = False  # not a test of pytest's
    curvatures: Tensor
    minima: Tensor
    evaluations: Tensor
    factors: Tensor

    def __init__(
        self,
        dimension: int,
        name: str,
        start: Sequence[float],
        condition: float,
        noise: float,
        drift: float,
        scale: Scale,
    ) -> None:
        super().__init__()
        problem = PROBLEMS[name]
        self.function = problem.value
        self.x = nn.Parameter(torch.tensor(filled(start or problem.start, dimension), dtype=torch.float32))
        self.register_buffer(
            "minima", torch.tensor([filled(minimum, dimension) for minimum in problem.minima])
        )
        exponents = torch.linspace(0, 1, dimension) if dimension > 1 else torch.zeros(1)
        self.register_buffer("curvatures", condition**exponents)
        self.register_buffer("evaluations", torch.zeros((), dtype=torch.int64))
        self.register_buffer("factors", torch.tensor(scale.factors), persistent=False)
        self.is_quadratic, self.noise, self.drift, self.period = (
            name == "quadratic",
            noise,
            drift,
            scale.period,
        )

    def forward(self, noise: Tensor) -> Tensor:
        x: Tensor = self.x
        if self.training and (self.drift or self.period):
            self.evaluations += 1
        if self.drift:
            x = x - self.drift * self.evaluations.to(x.dtype)
        value = self.function(x * self.curvatures.sqrt() if self.is_quadratic else x)
        noisy = value + self.noise * (noise * x).sum(1)  # noise in each component of the gradient
        distance = (x.detach() - self.minima).norm(dim=1).min()
        exact = value.detach().expand_as(noisy)
        if self.period:
            passed = (self.evaluations - 1).clamp(min=0) // self.period
            noisy = noisy * self.factors[passed % len(self.factors)]
        return torch.stack([noisy, exact, distance.expand_as(noisy)], dim=1)


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
    factors: Sequence[float] = (),
    period: int = 0,
) -> nn.Module:
    """Input noise (batch, dimension), output (batch, 3).

    `start`: first values of the parameters; the last one is repeated. `condition`: condition number of the quadratic, with curvatures
    from 1 to it in equal ratios. `noise`: standard deviation of the noise in each component of the gradient of one evaluation.
    `drift`: distance by which every coordinate of the minimum moves per forward pass of training. `factors`, `period`: the value and its
    gradient are multiplied by each factor in turn, for `period` forward passes of training; the metrics are not.
    """
    if function not in PROBLEMS:
        raise ValueError(f"function: expected one of {', '.join(PROBLEMS)}; found {function!r}")
    if function == "beale" and dimension != 2:
        raise ValueError(f"function: beale has 2 variables; the data have {dimension}")
    if condition < 1:
        raise ValueError(f"condition: expected a number of at least 1; found {condition:g}")
    if bool(factors) is not (period > 0):
        raise ValueError(
            f"factors: requires a 'period' of at least 1; found factors {list(factors)}, period {period}"
        )
    if any(factor <= 0 for factor in factors):
        raise ValueError(f"factors: expected numbers above 0; found {list(factors)}")
    scale = Scale(tuple(map(float, factors)), period) if factors else Scale()
    return TestFunction(dimension, function, start, condition, noise, drift, scale)
