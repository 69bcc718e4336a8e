"""Facts about the metrics of a suite that its plan stores. Sources with literals are read, not imported."""

from __future__ import annotations

from pathlib import Path

from optbench.catalog import lookup
from optbench.catalog.metric_contract import facts_of, load_metric, stated_facts
from optbench.catalog.own_task import load_own_task, own_task_facts
from optbench.errors import OptbenchError
from optbench.suite.metric_facts import MetricFacts
from optbench.suite.types import Suite, Workload


def metric_facts(suite: Suite, folder: Path) -> dict[str, MetricFacts]:
    """Return the facts of every metric of the suite that states them, by name."""
    found: dict[str, MetricFacts] = {}
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


def _of_metric(workload: Workload, name: str, folder: Path) -> MetricFacts:
    target = lookup.resolve("metrics", workload.metric_code(name), folder)
    stated = stated_facts(target)
    if "HIGHER_IS_BETTER" in stated:
        return facts_of(target.name, stated)
    return load_metric(name, target.name, folder).facts  # they are computed, or in a package without source


def _of_own_task(workload: Workload, name: str, folder: Path) -> MetricFacts:
    use = str(workload.task)
    return own_task_facts(load_own_task(use, folder), use, name)
