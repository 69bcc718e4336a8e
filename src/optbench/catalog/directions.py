"""Whether more of a metric is better, as its file says; read without importing it."""

from __future__ import annotations

from pathlib import Path

from optbench.catalog import lookup
from optbench.catalog.metric_contract import metric_facts
from optbench.errors import OptbenchError
from optbench.suite.types import Suite


def directions(suite: Suite, folder: Path) -> dict[str, bool]:
    """By name, for every metric of the suite whose file tells `HIGHER_IS_BETTER`."""
    found = {}
    for workload in suite.workloads.values():
        for name in workload.metrics:
            try:
                facts = metric_facts(lookup.resolve("metrics", workload.metric_code(name), folder))
            except OptbenchError:
                continue  # `check` tells
            if isinstance(facts.get("HIGHER_IS_BETTER"), bool):
                found[name] = facts["HIGHER_IS_BETTER"]
    return found
