"""Forecasting: the next values of a series from a window of past ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optbench.catalog.tasks.regression import example, limits, outputs_problem, units
from optbench.catalog.tasks.regression import facts as _of_regression

if TYPE_CHECKING:
    from optbench.catalog.types import DataInfo

__all__ = ["LOSS", "METRICS", "example", "facts", "limits", "outputs_problem", "units"]

LOSS = "mse"
METRICS = ("mae", "rmse")
EXAMPLE = {"shape": (48, 3), "classes": 12}
STARTER = {"model": "recurrent", "data": "mackey_glass"}


def facts(info: DataInfo) -> Mapping[str, Any]:
    """Inputs are (window, features), targets (horizon,)."""
    window, features = info.shape
    return {**_of_regression(info), "horizon": info.classes, "window": window, "features": features}
