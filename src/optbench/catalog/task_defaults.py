"""Defaults of tasks: loss and metrics of a workload, models, and sizes of example data; reads sources only."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from optbench.catalog import lookup, sources
from optbench.catalog.data_sets import task_of
from optbench.catalog.metric_contract import stated_facts
from optbench.catalog.types import DataInfo
from optbench.errors import OptbenchError, Problem
from optbench.plurals import counted
from optbench.suite.types import Component


def complete(workload: dict[str, Any], folder: Path) -> None:
    """Add loss and metrics to a workload as written, unless its task is classification.

    What cannot be resolved is left for the check of the suite to report.
    """
    try:
        stated = (
            _of_own_task(str(workload["task"]), folder)
            if workload.get("task")
            else _of_data(workload, folder)
        )
    except (OptbenchError, ValueError, TypeError):
        return
    if stated is None:
        return
    loss, metrics = stated
    if loss:
        workload.setdefault("loss", loss)
    if metrics:
        workload.setdefault("metrics", list(metrics))


def _of_data(workload: dict[str, Any], folder: Path) -> tuple[str, tuple[str, ...]] | None:
    data = Component.model_validate(workload.get("data"))
    task = task_of(data, folder)
    return None if task == "classification" else defaults(task)


def defaults(task: str) -> tuple[str, tuple[str, ...]]:
    """Return the loss and the metrics of a catalog task. Raises `OptbenchError` for an unknown name."""
    target = lookup.resolve("tasks", task)
    constants = sources.constants(target.file) if target.file is not None else {}
    return str(constants.get("LOSS", "")), tuple(constants.get("METRICS", ()))


def task_metric(task: str) -> tuple[str, bool]:
    """Return the first metric of a catalog task ("" if it has none), and whether higher values are better."""
    _, metrics = defaults(task)
    if not metrics:
        return "", False
    facts = stated_facts(lookup.resolve("metrics", metrics[0]))
    return metrics[0], bool(facts.get("HIGHER_IS_BETTER"))


def model_tasks(model: str, folder: Path) -> tuple[str, ...]:
    """Return the tasks of a model: `TASKS` or `TASK`, literals in its file, else classification.

    Raises `OptbenchError` for an unknown model.
    """
    target = lookup.resolve("models", model, folder)
    stated = sources.constants(target.file) if target.file is not None and target.kind != "import" else {}
    tasks = stated.get("TASKS", stated.get("TASK"))
    if isinstance(tasks, str):
        return (tasks,)
    return tuple(tasks) if isinstance(tasks, (tuple, list)) and tasks else ("classification",)


def models_of(task: str) -> tuple[str, ...]:
    """Return the names of the catalog models for a task."""
    return tuple(name for name in lookup.items("models") if task in model_tasks(name, Path()))


def task_starters() -> dict[str, dict[str, str]]:
    """Return the tasks that `optbench new` offers, with the model and the data set that it proposes."""
    found = {name: sources.constants(file).get("STARTER") for name, file in lookup.items("tasks").items()}
    return {name: starter for name, starter in found.items() if isinstance(starter, dict)}


def example_info(
    task: str, samples: int, shape: tuple[int, ...] | None = None, classes: int | None = None
) -> DataInfo:
    """Return the description of data that do not exist, with usual sizes of a task where none are passed.

    Raises `OptbenchError` for an unknown task, and for sizes that its data do not have.
    """
    target = lookup.resolve("tasks", task)
    usual = sources.constants(target.file).get("EXAMPLE") if target.file is not None else None
    if not isinstance(usual, dict):
        raise OptbenchError(
            f"the sizes of the data of a model of task {task} are not known: pass a suite instead of the model"
        )
    problems = []
    for option, value in (("shape", shape), ("classes", classes)):
        if value is not None and option not in usual:
            names = ", ".join(usual.get("facts", ())) or ", ".join(usual)
            problems.append(
                Problem(f"models of task {task} do not have this size, but {names}", f"--{option}")
            )
    usual_shape = usual.get("shape", ())
    numbers = (1, 3) if task in ("classification", "regression") else (len(usual_shape),)
    if shape is not None and usual_shape and len(shape) not in numbers:
        form = (
            "C,H,W for images, or one number for vectors"
            if len(numbers) > 1
            else counted(numbers[0], "number")
        )
        problems.append(Problem(f"task {task}: expected {form}; found {len(shape)} numbers", "--shape"))
    if problems:
        raise OptbenchError(*problems)
    return DataInfo(
        samples, 0, 0, shape or usual_shape, classes or usual.get("classes", 0), "no data", task=task,
        facts=usual.get("facts", {}),
    )  # fmt: skip


def _of_own_task(task: str, folder: Path) -> tuple[str, tuple[str, ...]]:
    """Return the names in `metrics`, a literal in the class: `loss` if the class has none; empty if it is computed."""
    target = lookup.resolve("tasks", task, folder)
    if target.file is None or not target.attribute:
        return "", ()
    definition = sources.define(target.module, target.file, target.attribute)
    if definition is None or not isinstance(definition.node, ast.ClassDef):
        return "", ()
    stated = sources.literals(definition.node.body).get("metrics")
    named = (getattr(node, "id", getattr(node, "attr", "")) for node in ast.walk(definition.node))
    if stated is None and "metrics" not in named and not definition.node.bases:
        return "", ("loss",)
    return "", tuple(stated) if isinstance(stated, dict) else ()
