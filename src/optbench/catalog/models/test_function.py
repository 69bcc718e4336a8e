"""Test function: parameters only, with the value of a standard function of optimization as loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from optbench.test_functions import PROBLEMS, filled

TASKS = ("minimisation",)


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
        problem = PROBLEMS[name]
        self.function = problem.value
        self.x = nn.Parameter(torch.tensor(filled(start or problem.start, dimension), dtype=torch.float32))
        self.register_buffer(
            "minima", torch.tensor([filled(minimum, dimension) for minimum in problem.minima])
        )
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
    if function not in PROBLEMS:
        raise ValueError(f"function: expected one of {', '.join(PROBLEMS)}; found {function!r}")
    if function == "beale" and dimension != 2:
        raise ValueError(f"function: beale has 2 variables; the data have {dimension}")
    if condition < 1:
        raise ValueError(f"condition: expected a number of at least 1; found {condition:g}")
    return TestFunction(dimension, function, start, condition, noise, drift)
