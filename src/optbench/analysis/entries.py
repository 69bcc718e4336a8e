"""Names of rows outside of tables: the label, and the settings that distinguish it."""

from __future__ import annotations

from collections import Counter

from optbench.analysis.rows import TableRow, table_rows
from optbench.store import SuiteResults
from optbench.store.read import Results
from optbench.suite.axes import short


def entry_names(suite: SuiteResults) -> dict[str, str]:
    """Return the names by config_id, in the order of the suite's rows: the label, with the horizon if a label has several in one workload.

    If a suite has axes and one entry, its combinations are compared: the name contains their values, as in
    "batch_size=32".
    """
    rows = table_rows(Results((suite,)))
    several = Counter((row.trial.workload_name, row.trial.label) for row in rows)
    if cells_compared(rows):
        return {
            row.config_id: ", ".join(f"{k}={v}" for k, v in short(row.trial.axes).items()) for row in rows
        }
    return {
        row.config_id: f"{row.trial.label} ({row.horizon})"
        if several[row.trial.workload_name, row.trial.label] > 1
        else row.trial.label
        for row in rows
    }


def entry_families(suite: SuiteResults) -> dict[str, str]:
    """Return the family of each name of `entry_names`, empty for entries without one."""
    names = entry_names(suite)
    return {names[row.config_id]: row.trial.entry.family or "" for row in table_rows(Results((suite,)))}


def baseline_names(suite: SuiteResults) -> set[str]:
    """Return the names of `entry_names` that are the baseline of a workload."""
    names = entry_names(suite)
    return {names[row.config_id] for row in table_rows(Results((suite,))) if row.baseline}


def cells_compared(rows: list[TableRow]) -> bool:
    """Return whether a suite compares the combinations of its axes, each with a single row."""
    workloads = Counter(row.trial.workload_name for row in rows)
    return len(rows) > 1 and bool(rows[0].trial.axes) and set(workloads.values()) == {1}
