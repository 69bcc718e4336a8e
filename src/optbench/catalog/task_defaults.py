"""Loss and metrics of a workload that sets none, from the task of its data set; reads sources only."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from optbench.catalog import lookup, sources
from optbench.catalog.data_sets import task_of
from optbench.catalog.metric_contract import metric_facts
from optbench.errors import OptbenchError
from optbench.suite.types import Component


def complete(workload: dict[str, Any], folder: Path) -> None:
    """Add loss, metrics and the metric of targets to a workload as written, unless its task is classification.

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
    if not metrics:
        return
    workload.setdefault("metrics", list(metrics))
    targets = workload.get("target")
    for target in targets if isinstance(targets, list) else [targets]:
        if isinstance(target, dict):
            target.setdefault("metric", metrics[0])


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
    facts = metric_facts(lookup.resolve("metrics", metrics[0]))
    return metrics[0], bool(facts.get("HIGHER_IS_BETTER"))


def _of_own_task(task: str, folder: Path) -> tuple[str, tuple[str, ...]]:
    """Return the names in `metrics`, a literal in the class; empty if it is computed."""
    target = lookup.resolve("tasks", task, folder)
    if target.file is None or not target.attribute:
        return "", ()
    definition = sources.define(target.module, target.file, target.attribute)
    if definition is None or not isinstance(definition.node, ast.ClassDef):
        return "", ()
    stated = sources.literals(definition.node.body).get("metrics")
    return "", tuple(stated) if isinstance(stated, dict) else ()
