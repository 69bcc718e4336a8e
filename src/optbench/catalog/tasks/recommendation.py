"""Recommendation: the rating of an item by a user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.catalog.task_types import Example, Values
    from optbench.catalog.types import DataInfo

LOSS = "mse"
METRICS = ("rmse",)
EXAMPLE = {"facts": {"num_users": 671, "num_items": 9066, "mean_rating": 3.5}}
STARTER = {"model": "matrix_factorisation", "data": "synthetic_ratings"}


def facts(info: DataInfo) -> Mapping[str, Any]:
    """The data set states `num_users`, `num_items` and the mean of all ratings."""
    return {}


def example(info: DataInfo, samples: int, make: Example) -> tuple[Values, Values]:
    """Return users and items, (samples,) each, and ratings (samples,)."""
    users = make.integers(info.facts["num_users"], samples)
    return {"user": users, "item": make.integers(info.facts["num_items"], samples)}, make.numbers(samples)


def outputs_problem(outputs: Any, samples: int, info: DataInfo) -> str:
    """Outputs are ratings, (samples,)."""
    shape = getattr(outputs, "shape", None)
    if shape is None:
        return f"expected a tensor of ratings; found {type(outputs).__name__}"
    return "" if tuple(shape) == (samples,) else f"expected outputs of shape (batch,); found {tuple(shape)}"


def units(targets: Tensor) -> int:
    """Return the number of ratings."""
    return len(targets)


def limits(info: DataInfo) -> Mapping[str, int]:
    """Users and items are below their numbers."""
    return {"user": info.facts["num_users"], "item": info.facts["num_items"]}
