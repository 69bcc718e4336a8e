"""A class with `loss(model, batch)` and `evaluate(model, batch)` in a user's file; see docs/own-task.md."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optbench.catalog import lookup
from optbench.errors import OptbenchError, nearest
from optbench.suite.metric_facts import MetricFacts, checked_facts

#: methods and their arguments; the others are optional
_METHODS = {
    "loss": ("model", "batch"),
    "evaluate": ("model", "batch"),
    "units": ("batch",),
    "example": ("samples",),
}
_REQUIRED = ("loss", "evaluate")


def load_own_task(use: str, folder: str | Path) -> Any:
    """Import the class and return an instance. Raises `OptbenchError` if it lacks a method, or cannot be made."""
    target = lookup.resolve("tasks", use, folder)
    if target.kind == "catalog":
        raise OptbenchError(
            f"'{use}' is a task of the catalog, which follows from the data set: remove the key; "
            "expected a class of your own, as in my_task.py:Task"
        )
    loaded = lookup.load(target)
    try:
        task = loaded() if isinstance(loaded, type) else loaded
    except Exception as error:  # user code of a class may raise any exception
        raise OptbenchError(lookup.raised(target, error, f"'{use}': a call without arguments")) from error
    missing = [name for name in _REQUIRED if not callable(getattr(task, name, None))]
    if missing:
        raise OptbenchError(f"task {use}: expected methods loss and evaluate; missing: {', '.join(missing)}")
    for name, arguments in _METHODS.items():
        method = getattr(task, name, None)
        if callable(method) and (reason := _refusal(method, arguments)):
            expected = f"{name}({', '.join(('self', *arguments))})"
            raise OptbenchError(
                f"task {use}: expected a method {expected}; found another signature: {reason}"
            )
    return task


def _refusal(method: Any, arguments: tuple[str, ...]) -> str:
    """Return why a method cannot be called with these arguments; "" if it can, or if its signature is unknown."""
    try:
        inspect.signature(method).bind(*arguments)
    except TypeError as error:
        return str(error)
    except ValueError:
        return ""
    return ""


def own_task_facts(task: Any, use: str, metric: str) -> MetricFacts:
    """Return the facts that an own task states in its `metrics`. Raises `OptbenchError` if it lacks the metric."""
    stated = getattr(task, "metrics", {})
    if not isinstance(stated, Mapping):
        raise OptbenchError(f"task {use}: expected a dictionary as 'metrics'; found {type(stated).__name__}")
    stated = {"loss": {"higher_is_better": False}, **stated}
    if metric not in stated:
        raise OptbenchError(f"task {use} has no metric '{metric}'; {nearest(metric, map(str, stated))}")
    facts = stated[metric]
    try:
        if not isinstance(facts, Mapping):
            raise ValueError(f"expected a dictionary such as {{'higher_is_better': True}}; found {facts!r}")
        return checked_facts(facts)
    except ValueError as error:
        raise OptbenchError(f"task {use}: metric '{metric}': {error}") from error
