"""Entries of the page: names, positions in the legend, and groups that share figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from optbench.analysis.entries import cells_compared, entry_names
from optbench.analysis.rows import table_rows
from optbench.report.text import clean
from optbench.store import Results, SuiteResults


@dataclass(frozen=True)
class Group:
    """Rows that share their figures: of one workload, or of all combinations of axes that a suite compares.

    `names`: by config_id; `places`: of every name of the page in its legend.
    """

    title: str
    workload: str  # "" where the group is of several
    names: dict[str, str]
    places: dict[str, int]

    def of(self, config: str) -> dict[str, Any]:
        """Return the first keys of a series: position in the legend and name."""
        return self.named(self.names[config])

    def named(self, name: str) -> dict[str, Any]:
        return {"o": self.places.get(name, 0), "n": name}


def legend(results: Results) -> dict[str, int]:
    """Return the position of each name of all suites, by order of first occurrence."""
    names = (clean(name) for suite in results.suites for name in entry_names(suite).values())
    return {name: place for place, name in enumerate(dict.fromkeys(names))}


def groups(suite: SuiteResults, places: dict[str, int]) -> Iterator[Group]:
    rows = table_rows(Results((suite,)))
    names = {config: clean(name) for config, name in entry_names(suite).items()}
    if cells_compared(rows):
        yield Group("", "", names, places)
        return
    workloads = dict.fromkeys(row.trial.workload_name for row in rows)
    for workload in workloads:
        own = {row.config_id: names[row.config_id] for row in rows if row.trial.workload_name == workload}
        yield Group(clean(workload) if len(workloads) > 1 else "", workload, own, places)
