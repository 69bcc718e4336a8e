"""Seconds to target of swept trials: their steps to target times the seconds that a step takes alone.

Trials of a sweep share the machine, so their own times are not comparable. The seconds of a step are those of the entry's timed trials,
which ran alone and interleaved (A B C C B A) on the same device, without disturbed and resumed ones. They apply to other points if the
swept hyperparameters do not change the work of a step.
"""

from __future__ import annotations

import math
from statistics import median as middle
from typing import Any

import pandas as pd

from optbench.analysis.censoring import median
from optbench.analysis.frames import counts, first_holding
from optbench.analysis.rows import TableRow, sweep_rows, table_rows
from optbench.store import Results, TrialLog

#: a number in the update's equations, whatever its value
SAME_COST = ("lr", "eps", "betas", "beta1", "beta2", "alpha", "rho", "dampening", "lr_decay", "lambd")
#: likewise, but for 0, with which torch leaves out a part of the update
SAME_COST_ABOVE_ZERO = ("momentum", "weight_decay")

COLUMNS = [
    "suite",
    "workload",
    "optimizer",
    "point",
    "target",
    "seeds",
    "reached",
    "steps_to_target",
    "step_seconds",
    "seconds_to_target",
]


def sweep_times_frame(results: Results) -> pd.DataFrame:
    """Return one row per point of each sweep whose workload has a target.

    suite, workload, optimizer, point (dict); target (the first), seeds (that count), reached (how many); steps_to_target (the
    Kaplan-Meier median, empty if half or fewer reached it); step_seconds (median over the entry's timed trials, alone; empty
    where none is undisturbed on the same device, or the point changes what a step costs); seconds_to_target: their product.
    """
    timed = table_rows(results)
    records = [_record(row, timed) for row in sweep_rows(results) if row.trial.workload.target]
    return pd.DataFrame(records, columns=COLUMNS)


def fastest(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the point of each entry with the fewest steps to the target; entries that never reach it are left out."""
    known = frame.dropna(subset=["steps_to_target"])
    if known.empty:
        return known
    keys = ["suite", "workload", "optimizer"]
    return known.loc[known.groupby(keys, sort=False)["steps_to_target"].idxmin()]


def _record(row: TableRow, timed: list[TableRow]) -> dict[str, Any]:
    logs = [log for log in row.logs if counts(log)]
    passages = [_passage(log, row) for log in logs]
    steps = median([step for step, _ in passages], [reached for _, reached in passages]) if logs else math.nan
    each = _step_seconds(row, timed)
    return {
        "suite": row.suite,
        "workload": row.trial.workload_name,
        "optimizer": row.trial.label,
        "point": dict(row.trial.point),
        "target": str(row.trial.workload.target[0]),
        "seeds": len(logs),
        "reached": sum(reached for _, reached in passages),
        "steps_to_target": steps if math.isfinite(steps) else math.nan,
        "step_seconds": each,
        "seconds_to_target": steps * each if math.isfinite(steps) else math.nan,
    }


def _passage(log: TrialLog, row: TableRow) -> tuple[float, bool]:
    """Return the step of the first evaluation at which the target held and True, or the whole budget and False (censored)."""
    index = first_holding(log, row.trial.workload.target[0])
    if index is not None:
        return float(log.evaluations.column("step")[index]), True
    whole = log.started.steps if log.started is not None else None
    return float(whole or (log.finished.step if log.finished is not None else 0)), False


def _step_seconds(row: TableRow, timed: list[TableRow]) -> float:
    names = {log.started.environment.get("device_name") for log in row.logs if log.started is not None}
    found = [
        log.finished.train_seconds / log.finished.step
        for other in timed
        if other.suite == row.suite
        and (other.trial.workload_name, other.trial.label) == (row.trial.workload_name, row.trial.label)
        and _same_cost(row, other)
        for log in other.logs
        if _was_alone(log, names) and log.finished is not None
    ]
    return middle(found) if found else math.nan


def _was_alone(log: TrialLog, devices: set[Any]) -> bool:
    if log.started is None or log.finished is None or not log.is_complete:
        return False
    whole = log.finished.status in ("completed", "stopped") and log.finished.step > 0
    calm = log.seconds_count and not log.disturbed
    return whole and calm and log.started.environment.get("device_name") in devices


def _same_cost(row: TableRow, timed: TableRow) -> bool:
    """Return whether a step at this point costs the same as a step of the entry itself."""
    rules = timed.trial.entry.rules
    for key, value in row.trial.point.items():
        position, name = key.split(".", 1) if len(rules) > 1 else ("0", key)
        own = rules[int(position)].arguments.get(name, 0)
        both_above = name in SAME_COST_ABOVE_ZERO and bool(value) == bool(own)
        if name not in SAME_COST and not both_above:
            return False
    return True
