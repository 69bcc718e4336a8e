"""The task of a workload at run time: its loss, its metrics and example batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from optbench.catalog import lookup
from optbench.catalog.metric_contract import Accumulator, Metric, load_metric
from optbench.catalog.own_task import load_own_task, own_task_facts
from optbench.catalog.task_types import TaskModule, task_module
from optbench.catalog.types import DataInfo
from optbench.engine.batch import Batch, Random, Zeros, as_float, call, example_batch
from optbench.engine.models import check_outputs
from optbench.errors import OptbenchError
from optbench.suite.types import Component, Workload

#: maximum relative difference, by rounding, between the loss of a model and the cross-entropy of its logits
_ALIGNED = 0.01


class Task(Protocol):
    """A catalog task with the workload's loss, or a class in a user's file."""

    info: DataInfo

    def loss(self, model: Callable[..., Any], batch: Batch) -> Tensor:
        """Return the mean loss of a training batch, with its graph."""
        ...

    def units(self, batch: Batch) -> int | Tensor:
        """Return the weight of a batch in a mean over batches: the number of samples, or of tokens that count."""
        ...

    def metrics(self, workload: Workload, folder: str) -> dict[str, Metric]:
        """Return the metrics of an evaluation by name; `loss` is always one of them."""
        ...

    def evaluate(self, model: Callable[..., Any], batch: Batch, sums: Sums) -> None:
        """Add a batch to the sums, under `torch.no_grad`."""
        ...

    def example(self, samples: int, make: Zeros | Random, *, channels_last: bool = False) -> Batch:
        """Return a batch with valid values."""
        ...


@dataclass
class Sums:
    """Sums over the batches of one split."""

    metrics: Mapping[str, Metric]
    device: torch.device
    info: DataInfo
    totals: dict[str, Tensor] = field(init=False)
    accumulators: dict[str, Accumulator] = field(init=False)
    units: int | Tensor = 0

    def __post_init__(self) -> None:
        self.totals = {
            name: torch.zeros((), device=self.device)
            for name, m in self.metrics.items()
            if m.accumulator is None
        }
        self.accumulators = {
            name: m.accumulator() for name, m in self.metrics.items() if m.accumulator is not None
        }
        for accumulator in self.accumulators.values():
            if hasattr(accumulator, "describe"):
                accumulator.describe(self.info)

    def values(self) -> dict[str, float]:
        """Return all metrics."""
        units = float(self.units)
        means = {name: float(total) / units for name, total in self.totals.items()}
        values = {name: self.metrics[name].of_mean(mean) for name, mean in means.items()}
        return {
            name: values[name] if name in values else float(self.accumulators[name].compute())
            for name in self.metrics
        }


@dataclass
class CatalogTask:
    """A task of the catalog, with the loss and the metrics of a workload."""

    module: TaskModule
    info: DataInfo
    model_name: str
    criterion: Callable[[Any, Any], Tensor]

    def loss(self, model: Callable[..., Any], batch: Batch) -> Tensor:
        outputs = call(model, batch.inputs)
        own_loss = getattr(outputs, "loss", None)
        if isinstance(own_loss, Tensor):  # models of Hugging Face's kind
            return own_loss
        outputs = getattr(outputs, "logits", outputs)
        if self.info.task == "custom" and not (
            isinstance(outputs, Tensor) and isinstance(batch.targets, Tensor)
        ):
            raise OptbenchError(
                f"model {self.model_name}: the loss of the workload takes a tensor of outputs and one of targets: add a task of your own, "
                "as in task: my_task.py:Task"
            )
        check_outputs(self.model_name, self.module, outputs, batch.samples, self.info, training=True)
        return self.criterion(outputs, batch.targets)

    def units(self, batch: Batch) -> int | Tensor:
        return self.module.units(batch.targets)

    def metrics(self, workload: Workload, folder: str) -> dict[str, Metric]:
        return {
            name: load_metric(name, workload.metric_code(name), folder)
            for name in dict.fromkeys((*workload.metrics, "loss"))
        }

    def evaluate(self, model: Callable[..., Any], batch: Batch, sums: Sums) -> None:
        outputs, targets = call(model, batch.inputs), batch.targets
        own_loss = getattr(outputs, "loss", None)
        outputs = getattr(outputs, "logits", outputs)
        loss = own_loss if isinstance(own_loss, Tensor) else self.criterion(outputs, targets)
        outputs, loss = as_float(outputs), loss.float()
        if isinstance(own_loss, Tensor) and self.info.task == "language" and set(sums.metrics) != {"loss"}:
            outputs, targets = self._aligned(outputs, targets, loss)
        units = self.module.units(targets)
        with torch.autocast(sums.device.type, enabled=False):
            for name, metric in sums.metrics.items():
                if name == "loss":
                    sums.totals[name] += loss * units
                elif metric.total is not None:
                    sums.totals[name] += metric.total(outputs, targets, loss)
            for accumulator in sums.accumulators.values():
                accumulator.update(outputs, targets, loss)
        sums.units = sums.units + units

    def _aligned(self, logits: Tensor, labels: Any, loss: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and the tokens that they predict: models of Hugging Face's kind shift the labels by one position themselves.

        Raises `OptbenchError` if the loss of the model is the cross-entropy of neither.
        """
        if isinstance(labels, Tensor) and isinstance(logits, Tensor) and logits.shape[:-1] == labels.shape:
            pairs = ((logits[:, :-1], labels[:, 1:]), (logits, labels))
            errors = [
                (cross_entropy(outputs.flatten(0, 1), targets.flatten()) - loss).abs()
                for outputs, targets in pairs
            ]
            if not loss.isfinite() or min(errors) <= _ALIGNED * loss.abs() + 1e-4:
                return pairs[int(errors[1] < errors[0])]
        raise OptbenchError(
            f"model {self.model_name}: its loss is not the cross-entropy of its logits and the labels, so that metrics of tokens are "
            "not known: use metrics: [loss], or a task of your own"
        )

    def example(self, samples: int, make: Zeros | Random, *, channels_last: bool = False) -> Batch:
        return example_batch(self.module, self.info, samples, make, channels_last=channels_last)


@dataclass
class OwnTask:
    """A class in a user's file: `loss(model, batch)` and `evaluate(model, batch)`; see docs/own-task.md."""

    task: Any
    name: str
    info: DataInfo

    def loss(self, model: Callable[..., Any], batch: Batch) -> Tensor:
        loss = self.task.loss(model, batch)
        if not isinstance(loss, Tensor) or loss.dim() != 0:
            found = (
                f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            )
            raise OptbenchError(
                f"task {self.name}: loss: expected a scalar tensor, the mean over the batch; found {found}"
            )
        if torch.is_grad_enabled() and not loss.requires_grad:
            raise OptbenchError(
                f"task {self.name}: loss: expected a tensor with a graph; found one without (detached, or computed under no_grad)"
            )
        return loss

    def units(self, batch: Batch) -> int | Tensor:
        if not hasattr(self.task, "units"):
            return batch.samples
        units: int | Tensor = self.task.units(batch)
        self._check_number(units, "units", "the weight of the batch")
        return units

    def metrics(self, workload: Workload, folder: str) -> dict[str, Metric]:
        names = dict.fromkeys((*workload.metrics, "loss"))
        return {name: Metric(name, None, own_task_facts(self.task, self.name, name)) for name in names}

    def evaluate(self, model: Callable[..., Any], batch: Batch, sums: Sums) -> None:
        units = self.units(batch)
        returned = self._under_no_grad(self.task.evaluate, model, batch)
        if not isinstance(returned, Mapping):
            raise OptbenchError(
                f"task {self.name}: evaluate: expected a dictionary with the sum of each metric; found {type(returned).__name__}"
            )
        values = dict(returned)
        if "loss" not in values:
            values["loss"] = self._under_no_grad(self.loss, model, batch) * units
        missing = [name for name in sums.metrics if name not in values]
        if missing:
            raise OptbenchError(
                f"task {self.name}: evaluate: expected a sum for {', '.join(missing)}; found {', '.join(values)}"
            )
        for name in sums.metrics:
            self._check_number(values[name], "evaluate", f"the sum of '{name}' over the batch")
            sums.totals[name] += values[name]
        sums.units = sums.units + units

    def _under_no_grad(self, function: Callable[..., Any], model: Callable[..., Any], batch: Batch) -> Any:
        try:
            return function(model, batch)
        except RuntimeError as error:
            if "does not require grad" not in str(error):
                raise
            raise OptbenchError(
                f"task {self.name}: gradients are disabled in an evaluation: compute derivatives, also those of the loss, in a block "
                "`with torch.enable_grad():`"
            ) from error

    def _check_number(self, value: object, method: str, what: str) -> None:
        shape = tuple(getattr(value, "shape", ()))
        if shape or not isinstance(value, (Tensor, Real)):
            found = f"a tensor of shape {shape}" if shape else f"{type(value).__name__}"
            raise OptbenchError(f"task {self.name}: {method}: expected {what}, one number; found {found}")

    def example(self, samples: int, make: Zeros | Random, *, channels_last: bool = False) -> Batch:
        if not hasattr(self.task, "example"):
            raise OptbenchError(
                f"task {self.name} has no method example(samples), which makes a batch of random values"
            )
        made = self.task.example(samples)
        return Batch(*made)


def build_task(workload: Workload, info: DataInfo, folder: str) -> Task:
    """Return the task of a workload. Raises `OptbenchError` for a task or a loss that does not exist."""
    if workload.task is not None:
        return OwnTask(load_own_task(workload.task, folder), workload.task, info)
    return CatalogTask(task_module(info.task), info, workload.model.name, build_loss(workload.loss, folder))


def build_loss(loss: Component, folder: str) -> Callable[[Any, Any], Tensor]:
    """Return the loss that a suite names, with its arguments bound."""
    loaded = lookup.load(lookup.resolve("losses", loss.name, folder))
    built: Any = getattr(loaded, "build", loaded)(**loss.arguments)
    return built  # type: ignore[no-any-return]
