"""Whether more of a metric is better, as its file states; read without importing it where the source has it as a literal."""

from __future__ import annotations

from pathlib import Path

from optbench.catalog import lookup
from optbench.catalog.metric_contract import load_metric, metric_facts
from optbench.errors import OptbenchError
from optbench.suite.types import Suite


def directions(suite: Suite, folder: Path) -> dict[str, bool]:
    """Return it by name, for every metric of the suite that states `HIGHER_IS_BETTER`."""
    found = {}
    for workload in suite.workloads.values():
        for name in workload.metrics:
            try:
                target = lookup.resolve("metrics", workload.metric_code(name), folder)
                known = metric_facts(target).get("HIGHER_IS_BETTER")
                if not isinstance(known, bool):  # computed, or in a package without source
                    known = load_metric(name, target.name, folder).higher_is_better
            except OptbenchError:
                continue  # `check` reports it
            found[name] = known
    return found
