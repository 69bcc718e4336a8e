"""Custom: arrays of any form, for a workload with its own `task`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optbench.errors import OptbenchError

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.catalog.task_types import Example, Values
    from optbench.catalog.types import DataInfo

LOSS = ""
METRICS = ()


def facts(info: DataInfo) -> Mapping[str, Any]:
    """Nothing is known about the data."""
    return {}


def example(info: DataInfo, samples: int, make: Example) -> tuple[Values, Values]:
    """Raise `OptbenchError`: valid values are not known."""
    raise OptbenchError("the form of valid inputs is not known: add a method example(samples) to the task")


def outputs_problem(outputs: Any, samples: int, info: DataInfo) -> str:
    """Any outputs are accepted."""
    return ""


def units(targets: Values) -> int:
    """Return the number of samples."""
    first: Tensor = next(iter(targets.values())) if isinstance(targets, dict) else targets
    return len(first)


def limits(info: DataInfo) -> Mapping[str, int]:
    """No limits are known."""
    return {}
