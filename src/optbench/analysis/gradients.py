"""Gradient evaluations per step: what a count of epochs or steps leaves out."""

from __future__ import annotations

import math
from collections.abc import Iterable

from optbench.analysis.rows import TableRow, table_rows
from optbench.store import Results, TrialLog

GRADIENTS = "gradient_evaluations"


def per_step(log: TrialLog) -> float:
    """Return gradient evaluations per step at the last evaluation, else at the end; NaN if not recorded."""
    if log.evaluations:
        count, step = log.gradient_evaluations[-1], log.evaluations.column("step")[-1]
        if count is not None and step > 0:
            return float(count / step)
    end = log.finished
    if end is None or end.status not in ("completed", "stopped", "diverged") or end.step <= 0:
        return math.nan
    return math.nan if end.gradient_evaluations is None else end.gradient_evaluations / end.step


def mean_per_step(row: TableRow) -> float:
    """Return the mean over the trials that recorded it; NaN if none did."""
    known = [value for value in map(per_step, row.logs) if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def are_shown(rows: Iterable[TableRow]) -> bool:
    """Return whether any trial used other than one gradient per step; else the counts repeat the steps."""
    counts = (per_step(log) for row in rows for log in row.logs)
    return any(count != 1 and not math.isnan(count) for count in counts)


def workloads_shown(results: Results) -> set[tuple[str, str]]:
    """Return suite and name of the workloads in which some entry used other than one gradient per step."""
    return {(row.suite, row.trial.workload_name) for row in table_rows(results) if are_shown([row])}


def units_between(rows: Iterable[TableRow], lead: str) -> tuple[str, ...]:
    """Return the units in which the entries of several workloads are compared."""
    return (lead, "seconds", *((GRADIENTS,) if are_shown(rows) else ()))
