"""Interface of the tasks in `catalog/tasks`, and the task of a workload. Does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from optbench.catalog import lookup
from optbench.catalog.types import DataInfo

if TYPE_CHECKING:
    from torch import Tensor

    #: one tensor, or several by name; the first axis is the sample
    Values = Tensor | dict[str, Tensor]


class Example(Protocol):
    """Makes the tensors of an example batch: without data, or with random values."""

    def numbers(self, *size: int) -> Tensor:
        """Return float32 numbers of this size."""
        ...

    def integers(self, high: int, *size: int) -> Tensor:
        """Return int64 numbers from 0 to `high` - 1."""
        ...


class TaskModule(Protocol):
    """A file in `catalog/tasks`."""

    LOSS: str
    METRICS: tuple[str, ...]

    def facts(self, info: DataInfo) -> Mapping[str, Any]:
        """Return the arguments that a model may request by name, besides those of `catalog/model_facts.py`."""
        ...

    def example(self, info: DataInfo, samples: int, make: Example) -> tuple[Values, Values]:
        """Return inputs and targets of a batch with valid values."""
        ...

    def outputs_problem(self, outputs: Any, samples: int, info: DataInfo) -> str:
        """Return what is wrong with a model's outputs, as "expected ...; found ..."; "" if nothing."""
        ...

    def units(self, targets: Values) -> int | Tensor:
        """Return how many values the mean loss of a batch is over: samples, or tokens that are not masked."""
        ...

    def limits(self, info: DataInfo) -> Mapping[str, int]:
        """Return the number of valid integers by name of an array (`inputs`, `targets`, or a name of several)."""
        ...


def task_module(name: str) -> TaskModule:
    """Return the task of this name. Raises `OptbenchError` with the nearest name."""
    loaded: TaskModule = lookup.load(lookup.resolve("tasks", name))
    return loaded
