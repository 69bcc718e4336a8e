"""Facts about the metrics of a suite that its plan stores: direction and range. Sources with literals are read, not imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optbench.catalog import lookup
from optbench.catalog.metric_contract import load_metric, metric_facts
from optbench.errors import OptbenchError
from optbench.suite.types import Suite, Workload

#: minimum and maximum of a metric, None where it is unbounded
Range = tuple[float | None, float | None]


def directions(suite: Suite, folder: Path) -> dict[str, bool]:
    """Return whether higher values are better, by name, for every metric of the suite that states it."""
    return {name: facts[0] for name, facts in _facts(suite, folder).items()}


def ranges(suite: Suite, folder: Path) -> dict[str, Range]:
    """Return the range of every metric of the suite that states its direction."""
    return {name: facts[1] for name, facts in _facts(suite, folder).items()}


def _facts(suite: Suite, folder: Path) -> dict[str, tuple[bool, Range]]:
    found: dict[str, tuple[bool, Range]] = {}
    for workload in suite.workloads.values():
        for name in workload.metrics:
            try:
                found[name] = (
                    _of_own_task(workload, name, folder)
                    if workload.task
                    else _of_metric(workload, name, folder)
                )
            except OptbenchError:
                continue  # `check` reports it
    return found


def _of_metric(workload: Workload, name: str, folder: Path) -> tuple[bool, Range]:
    target = lookup.resolve("metrics", workload.metric_code(name), folder)
    facts = metric_facts(target)
    higher = facts.get("HIGHER_IS_BETTER")
    if isinstance(higher, bool):
        return higher, (facts.get("LOW"), facts.get("HIGH"))
    metric = load_metric(name, target.name, folder)  # its facts are computed, or in a package without source
    return metric.higher_is_better, (metric.low, metric.high)


def _of_own_task(workload: Workload, name: str, folder: Path) -> tuple[bool, Range]:
    if name == "loss":
        return False, (None, None)
    stated: Any = getattr(lookup.load(lookup.resolve("tasks", str(workload.task), folder)), "metrics", {})
    facts = stated.get(name) if isinstance(stated, dict) else None
    if not isinstance(facts, dict) or not isinstance(facts.get("higher_is_better"), bool):
        raise OptbenchError(f"task {workload.task} does not state 'higher_is_better' of the metric '{name}'")
    return facts["higher_is_better"], (facts.get("low"), facts.get("high"))
