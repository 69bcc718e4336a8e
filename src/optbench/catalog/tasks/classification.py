"""Classification: one class per sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.catalog.task_types import Example, Values
    from optbench.catalog.types import DataInfo

LOSS = "cross_entropy"
METRICS = ("accuracy",)
EXAMPLE = {"shape": (3, 32, 32), "classes": 10}
STARTER = {"model": "small_cnn", "data": "digits"}


def facts(info: DataInfo) -> Mapping[str, Any]:
    """Return the number of classes under the names that constructors use."""
    return dict.fromkeys(("classes", "num_classes", "n_classes"), info.classes)


def example(info: DataInfo, samples: int, make: Example) -> tuple[Values, Values]:
    """Return inputs (samples, *shape) and labels (samples,)."""
    return make.numbers(samples, *info.shape), make.integers(info.classes, samples)


def outputs_problem(outputs: Any, samples: int, info: DataInfo) -> str:
    """Outputs are scores, (samples, classes)."""
    shape = getattr(outputs, "shape", None)
    if shape is None:
        return f"expected a tensor of scores; found {type(outputs).__name__}"
    if tuple(shape) == (samples, info.classes):
        return ""
    found = ", ".join(map(str, shape[1:]))
    return f"expected outputs of shape (batch, {info.classes}), one score per class; found (batch, {found})"


def units(targets: Tensor) -> int:
    """Return the number of samples."""
    return len(targets)


def limits(info: DataInfo) -> Mapping[str, int]:
    """Labels are below the number of classes."""
    return {"targets": info.classes}
