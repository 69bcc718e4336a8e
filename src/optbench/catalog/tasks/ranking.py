"""Ranking: the item that a user chooses next, among all items of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.catalog.task_types import Example, Values
    from optbench.catalog.types import DataInfo

LOSS = "cross_entropy"
METRICS = ("ndcg_at_10", "hit_rate_at_10")
EXAMPLE = {"facts": {"num_users": 671, "num_items": 9066, "mean_rating": 3.5}}
STARTER = {"model": "two_tower", "data": "synthetic_ratings(task='ranking')"}


def facts(info: DataInfo) -> Mapping[str, Any]:
    """The data set states `num_users` and `num_items`."""
    return {}


def example(info: DataInfo, samples: int, make: Example) -> tuple[Values, Values]:
    """Return users and the items that they choose, (samples,) each."""
    users = make.integers(info.facts["num_users"], samples)
    return {"user": users}, make.integers(info.facts["num_items"], samples)


def outputs_problem(outputs: Any, samples: int, info: DataInfo) -> str:
    """Outputs are scores of all items, (samples, num_items)."""
    shape = getattr(outputs, "shape", None)
    if shape is None:
        return f"expected a tensor of scores; found {type(outputs).__name__}"
    wanted = (samples, info.facts["num_items"])
    return (
        ""
        if tuple(shape) == wanted
        else f"expected outputs of shape (batch, {wanted[1]}); found {tuple(shape)}"
    )


def units(targets: Tensor) -> int:
    """Return the number of choices."""
    return len(targets)


def limits(info: DataInfo) -> Mapping[str, int]:
    """Users and items are below their numbers."""
    return {"user": info.facts["num_users"], "targets": info.facts["num_items"]}
