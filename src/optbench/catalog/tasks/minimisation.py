"""Minimisation: a function of the parameters alone; a sample is one evaluation, with its own noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.catalog.task_types import Example, Values
    from optbench.catalog.types import DataInfo

LOSS = "first_output"
METRICS = ("distance", "function_value")
EXAMPLE = {"shape": (2,)}
STARTER = {"model": "test_function", "data": "evaluations"}


def facts(info: DataInfo) -> Mapping[str, Any]:
    """Return the number of variables."""
    return {"dimension": info.shape[0]}


def example(info: DataInfo, samples: int, make: Example) -> tuple[Values, Values]:
    """Return noise (samples, dimension) and unused targets (samples,)."""
    return make.numbers(samples, *info.shape), make.numbers(samples)


def outputs_problem(outputs: Any, samples: int, info: DataInfo) -> str:
    """Outputs are (samples, 3): the value with noise, the value without, and the distance to the nearest minimum."""
    shape = getattr(outputs, "shape", None)
    if shape is not None and tuple(shape) == (samples, 3):
        return ""
    found = tuple(shape) if shape is not None else type(outputs).__name__
    return f"expected outputs of shape (batch, 3): noisy value, value, distance; found {found}"


def units(targets: Tensor) -> int:
    """Return the number of evaluations."""
    return len(targets)


def position(model: Any) -> Mapping[str, float]:
    """Return the two variables of a test function, for its path; nothing for other models."""
    variables: Any = getattr(model, "x", None)
    if getattr(variables, "shape", None) != (2,):
        return {}
    first, second = variables.tolist()
    return {"x1": first, "x2": second}


def limits(info: DataInfo) -> Mapping[str, int]:
    """There are no integers."""
    return {}
