"""Regression: one or more numbers per sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.catalog.task_types import Example, Values
    from optbench.catalog.types import DataInfo

LOSS = "mse"
METRICS = ("rmse",)
EXAMPLE = {"shape": (26,), "classes": 1}
STARTER = {"model": "mlp", "data": "bundled_table(table='diabetes', task='regression')"}


def facts(info: DataInfo) -> Mapping[str, Any]:
    """Return the number of predicted values under the names that constructors use."""
    return dict.fromkeys(("classes", "num_classes", "outputs", "out_features", "num_outputs"), info.classes)


def example(info: DataInfo, samples: int, make: Example) -> tuple[Values, Values]:
    """Return inputs (samples, *shape) and targets (samples, values)."""
    return make.numbers(samples, *info.shape), make.numbers(samples, info.classes)


def outputs_problem(outputs: Any, samples: int, info: DataInfo) -> str:
    """Outputs have the shape of the targets, (samples, values)."""
    shape = getattr(outputs, "shape", None)
    if shape is None:
        return f"expected a tensor of predictions; found {type(outputs).__name__}"
    if tuple(shape) == (samples, info.classes):
        return ""
    found = ", ".join(map(str, shape[1:]))
    return f"expected outputs of shape (batch, {info.classes}), as the targets; found (batch, {found})"


def units(targets: Tensor) -> int:
    """Return the number of samples."""
    return len(targets)


def limits(info: DataInfo) -> Mapping[str, int]:
    """Targets are no integers."""
    return {}
