"""A batch: inputs and targets, each one tensor or several by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from optbench.catalog.task_types import TaskModule
from optbench.catalog.types import DataInfo
from optbench.errors import OptbenchError

#: one tensor, or several by name; the first axis is the sample
Values = Tensor | dict[str, Tensor]


class Batch(NamedTuple):
    """Inputs and targets of the same samples."""

    inputs: Values
    targets: Values

    @property
    def samples(self) -> int:
        """Number of samples."""
        return length(self.targets)

    def part(self, start: int, stop: int) -> Batch:
        """Return samples `start` to `stop`. Raises `OptbenchError` if tensors have other numbers of rows than samples."""
        self._check_divisible()
        return self.map(lambda v: v[start:stop])

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with `change` applied to every tensor."""
        return Batch(map_tensors(change, self.inputs), map_tensors(change, self.targets))

    def split(self, parts: int) -> Iterator[Batch]:
        """Return `parts` micro-batches; the first ones have one sample more if the batch is not divisible.

        Raises `OptbenchError` if there are several and tensors have other numbers of rows than samples.
        """
        if parts > 1:
            self._check_divisible()
        inputs, targets = _pieces(self.inputs, parts), _pieces(self.targets, parts)
        return (Batch(x, y) for x, y in zip(inputs, targets, strict=True))

    def _check_divisible(self) -> None:
        for values in self:
            for name, value in values.items() if isinstance(values, dict) else ():
                if value.dim() == 0 or len(value) != self.samples:
                    rows = len(value) if value.dim() else "no"
                    raise OptbenchError(
                        f"a batch of {self.samples} samples with {rows} rows of '{name}' cannot be divided, as `accumulate`, `compile` "
                        "and `study: noise` do: pad the samples to one size, or train whole batches"
                    )


def map_tensors(change: Callable[[Tensor], Tensor], values: Values) -> Values:
    """Return the values with `change` applied to every tensor."""
    if isinstance(values, Tensor):
        return change(values)
    return {name: change(value) for name, value in values.items()}


def tensors(values: Values) -> list[Tensor]:
    """Return the tensors of the values."""
    return [values] if isinstance(values, Tensor) else list(values.values())


def length(values: Values) -> int:
    """Return the number of samples."""
    return len(tensors(values)[0])


def call(model: Callable[..., Any], inputs: Values) -> Any:
    """Call a model: one tensor is its only argument, several by name are its keyword arguments."""
    return model(inputs) if isinstance(inputs, Tensor) else model(**inputs)


def as_float(outputs: Any) -> Any:
    """Return outputs in float32 after a forward pass with autocast: a tensor, or the tensors of a dictionary."""
    if isinstance(outputs, Tensor):
        return outputs.float() if outputs.is_floating_point() else outputs
    if isinstance(outputs, dict):
        return {name: as_float(value) for name, value in outputs.items()}
    return outputs


def _pieces(values: Values, parts: int) -> Iterator[Values]:
    if isinstance(values, Tensor):
        return iter(values.tensor_split(parts))
    pieces = [value.tensor_split(parts) for value in values.values()]
    return (dict(zip(values, piece, strict=True)) for piece in zip(*pieces, strict=True))


class Zeros:
    """Example tensors of zeros on the CPU. Inside `FakeTensorMode` they have no data."""

    def numbers(self, *size: int) -> Tensor:
        """Return zeros in float32."""
        return torch.zeros(size)

    def integers(self, high: int, *size: int) -> Tensor:
        """Return zeros in int64."""
        return torch.zeros(size, dtype=torch.int64)


class Random:
    """Example tensors with normal numbers and uniform integers, from a separate generator with seed 0."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._device, self._generator = device, torch.Generator().manual_seed(0)

    def numbers(self, *size: int) -> Tensor:
        """Return standard normal numbers in float32."""
        return torch.randn(size, generator=self._generator).to(self._device)

    def integers(self, high: int, *size: int) -> Tensor:
        """Return integers from 0 to `high` - 1 in int64."""
        return torch.randint(high, size, generator=self._generator).to(self._device)


def example_batch(
    task: TaskModule, info: DataInfo, samples: int, make: Zeros | Random, *, channels_last: bool = False
) -> Batch:
    """Return a batch with valid values, images in the given memory format."""
    inputs, targets = task.example(info, samples, make)
    if channels_last:
        inputs = map_tensors(
            lambda v: v.contiguous(memory_format=torch.channels_last) if v.dim() == 4 else v, inputs
        )
    return Batch(inputs, targets)


def has_uninitialised(model: nn.Module) -> bool:
    """Return whether the model has lazy parameters, which its first forward pass creates."""
    return any(isinstance(p, nn.parameter.UninitializedParameter) for p in model.parameters())
