"""Requirements of a metric, and their check; see docs/own-metric.md."""

from __future__ import annotations

import ast
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from optbench.catalog import lookup, sources
from optbench.catalog.lookup import Target
from optbench.catalog.signatures import signature
from optbench.catalog.types import DataInfo
from optbench.errors import OptbenchError, Problem
from optbench.suite.metric_facts import MetricFacts, checked_facts

_ARGUMENTS = ("outputs", "labels", "loss")
#: constants of a metric's file or class
_CONSTANTS = {name.upper(): name for name in MetricFacts.__dataclass_fields__}
_CLASSES = 10  # of the batch that a metric is tried on if the data set is not known
_SAMPLES, _FIRST = 8, 5  # of the batch that a metric is tried on, and of its first part
_TOLERANCE = 1e-6


class Accumulator(Protocol):
    """A metric that is not a mean over samples, such as the area under a curve."""

    def update(self, outputs: Any, targets: Any, loss: Any) -> None:
        """Add a batch."""
        ...

    def compute(self) -> float:
        """Return the metric of all batches."""
        ...


@dataclass(frozen=True)
class Metric:
    """A metric of a split: `final` of the mean of `total` over the units of its batches, or of an `accumulator`."""

    name: str
    total: Callable[[Any, Any, Any], Any] | None
    """(outputs, targets, mean loss) of a batch -> sum over its samples; None for a metric with an accumulator."""
    facts: MetricFacts
    final: Callable[[float], float] | None = None
    """Mean over the split -> metric, such as a square root."""
    accumulator: Callable[[], Accumulator] | None = None

    def of_mean(self, mean: float) -> float:
        """Return the metric for a mean over the split; NaN if the mean is not finite and has no metric."""
        if self.final is None:
            return mean
        try:
            return float(self.final(mean))
        except (ValueError, OverflowError):
            return math.nan if math.isnan(mean) else math.inf

    def check_range(self, value: float, split: str) -> None:
        """Raise `OptbenchError` if the value is outside of the declared range."""
        low, high = self.facts.range
        if not math.isinf(low) or not math.isinf(high):
            room = _TOLERANCE * max(abs(end) for end in (low, high, 1.0) if math.isfinite(end))
            if not low - room <= value <= high + room:
                message = f"metric '{self.name}' is {value:g} on the {split} split; expected {_range(self.facts.low, self.facts.high)}"
                raise OptbenchError(f"{message}, the range that its LOW and HIGH declare")


def load_metric(name: str, use: str, folder: str | Path) -> Metric:
    """Import the metric that a suite calls `name`. Raises `OptbenchError` if it lacks something."""
    target = lookup.resolve("metrics", use, folder)
    found = lookup.load(target)
    if isinstance(found, type):
        try:
            found = found()
        except Exception as error:  # user code of a class may raise any exception
            raise OptbenchError(lookup.raised(target, error, f"'{use}': a call without arguments")) from error
    accumulator = getattr(found, "Accumulator", None)
    total = getattr(found, "total", None if isinstance(found, ModuleType) else found)
    owner = found if hasattr(found, "HIGHER_IS_BETTER") else sys.modules.get(getattr(found, "__module__", ""))
    facts = facts_of(use, {name: getattr(owner, name) for name in _CONSTANTS if hasattr(owner, name)})
    if accumulator is None and not callable(total):
        raise OptbenchError(
            f"'{use}' has no function total({', '.join(_ARGUMENTS)}) and no class Accumulator with update and compute"
        )
    return Metric(
        name,
        total if accumulator is None else None,
        facts,
        getattr(found, "final", None),
        accumulator,
    )


def stated_facts(target: Target) -> dict[str, Any]:
    """Return the constants of a metric, as far as the source states them as literals. Imports nothing."""
    if target.file is None:
        return {}
    file, body = target.file, []
    if target.attribute:
        definition = sources.define(target.module, target.file, target.attribute)
        file = definition.file if definition is not None else file
        if definition is not None and isinstance(definition.node, ast.ClassDef):
            body = definition.node.body
    known = sources.constants(file) | sources.literals(body)
    return {name: known[name] for name in _CONSTANTS if name in known}


def facts_of(use: str, constants: Mapping[str, Any]) -> MetricFacts:
    """Return the facts that constants such as `HIGHER_IS_BETTER` state. Raises `OptbenchError` naming `use`."""
    if not isinstance(constants.get("HIGHER_IS_BETTER"), bool):
        raise OptbenchError(
            f"'{use}' does not state which values are better: add HIGHER_IS_BETTER = True or False beside it"
        )
    try:
        return checked_facts({_CONSTANTS[name]: value for name, value in constants.items()})
    except ValueError as error:
        message = str(error)
        for constant, fact in _CONSTANTS.items():
            message = message.replace(f"'{fact}'", constant)
        raise OptbenchError(f"'{use}': {message}") from error


def metric_problems(use: str, folder: Path, info: DataInfo | None) -> Iterator[Problem]:
    """Yield errors that a run would raise. A metric outside the catalog is imported and called on a batch of 8 samples.

    `info` describes the data set; without it, the batch has 10 classes. Metrics of other tasks than classification are imported only.
    """
    target = lookup.resolve("metrics", use, folder)
    if target.kind == "catalog":
        return
    names = signature(target).parameters
    required = [parameter for parameter in names if parameter.required]
    if names and not len(required) <= len(_ARGUMENTS) <= len(names):
        found = ", ".join(parameter.name for parameter in names)
        yield Problem(f"'{use}' takes ({found}); expected ({', '.join(_ARGUMENTS)})")
        return
    classes = _CLASSES if info is None else info.classes
    try:
        metric = load_metric(use, use, folder)
        if (info is None or info.task == "classification") and (problem := _tried(metric, classes)):
            yield Problem(f"'{use}': {problem}")
    except OptbenchError as error:
        yield from error.problems
    except Exception as error:  # user code of a metric may raise any exception
        yield lookup.raised(target, error, f"'{use}': a call with outputs of shape ({_SAMPLES}, {classes})")


def _tried(metric: Metric, classes: int) -> str:
    """Call the metric on a batch and on its two parts, whose sums must add up. Return the error message, "" if none."""
    import torch
    from torch.nn.functional import cross_entropy

    outputs = torch.randn(_SAMPLES, classes, generator=torch.Generator().manual_seed(0))
    labels = (outputs.argmax(dim=1) + torch.arange(_SAMPLES) % 2) % classes  # half of them are right

    def value_of(*parts: slice) -> Any:
        accumulator = metric.accumulator() if metric.accumulator is not None else None
        sums = []
        for part in parts:
            own, their = outputs[part], labels[part]
            arguments = own.clone(), their.clone(), cross_entropy(own, their)
            if accumulator is not None:
                accumulator.update(*arguments)
            elif metric.total is not None:
                sums.append(metric.total(*arguments))
        return accumulator.compute() if accumulator is not None else sums

    halves = slice(None, _FIRST), slice(_FIRST, None)
    with torch.inference_mode():
        if metric.accumulator is not None:
            value, again = float(value_of(slice(None))), float(value_of(*halves))
            if not math.isclose(value, again, rel_tol=1e-3, abs_tol=1e-4):
                return f"computes {value:.4g} from one batch and {again:.4g} from its two parts"
            metric.check_range(value, "trial")
            return ""
        [whole], parts = value_of(slice(None)), value_of(*halves)
    if not isinstance(whole, (torch.Tensor, int, float)):
        return f"returns {type(whole).__name__}; expected a tensor with the sum over the batch"
    if isinstance(whole, torch.Tensor) and whole.shape != ():
        return f"returns a tensor of shape {tuple(whole.shape)}; expected one number, the sum over the batch"
    value, sums = float(whole), sum(map(float, parts))
    if not math.isclose(value, sums, rel_tol=1e-3, abs_tol=1e-4):
        return (
            f"returns {value:.4g} for a batch and {' and '.join(f'{float(each):.4g}' for each in parts)} for its two parts; "
            "expected the sum over the samples, not their mean"
        )
    metric.check_range(metric.of_mean(value / _SAMPLES), "trial")
    return ""


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    return f"at least {low:g}" if low is not None else f"at most {high:g}"
