"""Trials from a model and optimizers that are named on the command line, for `memory` and `steps`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from optbench.catalog import lookup
from optbench.catalog.check_component import component_findings
from optbench.catalog.check_optimizer import optimizer_findings
from optbench.catalog.signatures import asks_for_sparse_gradients
from optbench.catalog.task_defaults import defaults, example_info, model_tasks
from optbench.catalog.types import DataInfo
from optbench.errors import OptbenchError, Problem
from optbench.suite.call_notation import parse_call
from optbench.suite.overrides import parse_override
from optbench.suite.types import Component, Duration, Optimizer, Rule, Trial, Workload

_IMAGENET = (3, 224, 224), 1000  # shape and classes for torchvision's models
#: the optimizers of torch that accept sparse gradients, and momentum, whose state is then sparse
_FOR_SPARSE_GRADIENTS = {
    "SGD": "sgd",
    "SGD + momentum": "sgd(momentum=0.9)",
    "Adagrad": "adagrad",
    "SparseAdam": "torch.optim.SparseAdam",
}


@dataclass(frozen=True)
class Named:
    """One trial per optimizer on one model, with the shape of one input."""

    trials: tuple[Trial, ...]
    info: DataInfo


@dataclass(frozen=True)
class WorkloadSettings:
    """Settings of the workload and of its trials.

    `task`: by default that of the model. `shape` (as typed) and `classes`: by default usual ones of the task. `overrides`: arguments of
    the model, as typed.
    """

    task: str | None = None
    shape: str | None = None
    classes: int | None = None
    batch_size: int = 32
    precision: str = "fp32"
    implementation: str = "default"
    overrides: Sequence[str] = ()


def named_trials(
    model: str,
    optimizers: Sequence[str],
    common: Mapping[str, str],
    settings: WorkloadSettings = WorkloadSettings(),
    hint: str = "",
) -> Named:
    """Return one trial per optimizer. `model`: for example `mlp(hidden=[512])`; `optimizers`: as typed.

    Without `optimizers`, these are `common`, by label, or those that accept sparse gradients if the model has them.
    `hint` is appended to the message about an unknown model. Raises `OptbenchError` with all problems.
    """
    name, arguments = parse_call(model, "MODEL")
    for override in map(parse_override, settings.overrides):
        arguments[override.path] = override.value.data
    component = Component(name=name, arguments=arguments)
    rows = {typed: typed for typed in optimizers} or _default_optimizers(component, common)
    shape, classes = parse_shape(settings.shape), settings.classes
    _refuse_unfit(component, rows, hint)
    if settings.task is not None:
        _refuse_unknown_task(settings.task)
    task = settings.task or model_tasks(name, Path())[0]
    if name.startswith("torchvision.") and task == "classification":
        shape, classes = shape or _IMAGENET[0], classes or _IMAGENET[1]
    info = example_info(task, settings.batch_size, shape, classes)
    loss, metrics = defaults(task)
    workload = Workload(
        model=component,
        data=Component(name="synthetic", arguments={"shape": list(info.shape), "classes": info.classes}),
        batch_size=settings.batch_size,
        budget=Duration(value=1, unit="steps"),
        loss=Component(name=loss),
        metrics=metrics,
    )
    trials = [
        Trial.model_validate(
            {
                "suite": "named",
                "workload_name": "named",
                "workload": workload,
                "label": label,
                "entry": _entry(typed),
                "seed": 0,
                "precision": settings.precision,
                "implementation": settings.implementation,
                "folder": str(Path().resolve()),
            }
        )
        for label, typed in rows.items()
    ]
    return Named(tuple(trials), info)


def parse_shape(text: str | None) -> tuple[int, ...] | None:
    """Parse `3,224,224` for images, `48,3` for windows of series, or `784` for vectors and contexts. Raises `OptbenchError`."""
    if text is None:
        return None
    parts = text.replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts) or len(parts) > 3:
        raise OptbenchError(
            f"expected one to three whole numbers, for example 3,224,224; found '{text}'", where="--shape"
        )
    return tuple(int(part) for part in parts)


def _default_optimizers(model: Component, common: Mapping[str, str]) -> Mapping[str, str]:
    with suppress(OptbenchError):  # an unknown model is refused with the other problems
        if asks_for_sparse_gradients(model, Path()):
            return _FOR_SPARSE_GRADIENTS
    return common


def _refuse_unknown_task(task: str) -> None:
    try:
        lookup.resolve("tasks", task)
    except OptbenchError as error:
        raise OptbenchError(*(Problem(p.message, "--task") for p in error.problems)) from error


def _refuse_unfit(model: Component, rows: Mapping[str, str], hint: str) -> None:
    found = [
        Problem(f"{message}{hint}" if path == ("name",) else message, "MODEL")
        for path, message in component_findings("models", model, Path(), ())
    ]
    for typed in rows.values():
        try:
            name, arguments = parse_call(typed, "--optimizer")
            messages = optimizer_findings(name, arguments, Path(), ("arguments",))
            found += [Problem(message, f"--optimizer {typed}") for _, message in messages]
        except OptbenchError as error:
            found += error.problems
    if found:
        raise OptbenchError(*found)


def _entry(typed: str) -> Optimizer:
    use, arguments = parse_call(typed, "--optimizer")
    return Optimizer(rules=(Rule(use=use, arguments=arguments),))
