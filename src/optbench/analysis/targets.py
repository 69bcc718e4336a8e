"""Targets from reference runs: the best of several tuned entries, trained again on many seeds, determines what a good result is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context

import numpy as np

from optbench.analysis.frames import counts, is_worst
from optbench.analysis.rows import TableRow, table_rows
from optbench.analysis.tuning import winners
from optbench.store import Results, SuiteResults, TrialLog
from optbench.suite.spaces import Point

_DIGITS = 6


@dataclass(frozen=True)
class Reference:
    """The best entry of a workload, by the mean of the best validation metric over the seeds of the suite."""

    workload: str
    label: str
    point: Point
    """The selected settings; empty for an entry that is not tuned."""
    metric: str
    higher: bool
    value: float


@dataclass(frozen=True)
class CalibratedTarget:
    """The median over seeds of the best validation metric of the reference, rounded so that a run at the median reaches it."""

    value: float
    seeds: int
    reached: int
    """Seeds that reach it within the budget."""
    epochs: float
    """Epochs until the last of these seeds reached it; NaN if the records do not have them."""


def references(results: Results, labels: tuple[str, ...] = ()) -> list[Reference]:
    """Return the best entry of each workload, among those with the given labels if there are any.

    With repeated studies, the settings of each study count as one candidate. Workloads without complete trials are left out.
    """
    found = []
    for suite in results.suites:
        rows = [row for row in table_rows(Results((suite,))) if not labels or row.trial.label in labels]
        for workload in dict.fromkeys(row.trial.workload_name for row in rows):
            own = [row for row in rows if row.trial.workload_name == workload]
            candidates = [one for row in own for one in _candidates(suite, row)]
            sign = 1 if candidates and candidates[0].higher else -1
            if candidates:
                found.append(max(candidates, key=lambda one: sign * one.value))
    return found


def calibrated_target(results: Results, metric: str, *, higher: bool) -> CalibratedTarget | None:
    """Return the target of the runs of a reference: the only row of `results`. None if half of them or more diverged, or none ran."""
    [row] = table_rows(results)
    logs = [log for log in row.logs if counts(log)]
    values = [_best(log, metric, higher=higher) for log in logs]
    median = float(np.median(values)) if values else math.nan
    if not math.isfinite(median):
        return None
    rounding = Context(prec=_DIGITS, rounding=ROUND_FLOOR if higher else ROUND_CEILING)
    value = float(rounding.create_decimal(repr(median)))
    passages = [_first(log, metric, value, higher=higher) for log in logs]
    reached = [epoch for epoch in passages if epoch is not None]
    return CalibratedTarget(value, len(logs), len(reached), max(reached, default=math.nan))


def target_metric(row: TableRow) -> str:
    """Return the metric of the first target on the validation split, else the first metric."""
    workload = row.trial.workload
    targets = [target.metric for target in workload.target if target.split == "validation"]
    return targets[0] if targets else workload.metrics[0]


def _candidates(suite: SuiteResults, row: TableRow) -> list[Reference]:
    metric = target_metric(row)
    higher = row.facts(metric).higher_is_better
    by_study: dict[int | None, list[TrialLog]] = {}
    points = {
        study: point
        for (workload, label, study), point in winners(Results((suite,))).items()
        if (workload, label) == (row.trial.workload_name, row.trial.label)
    }
    seeds = suite.plan.seeds if suite.plan is not None else row.seeds
    for log in row.logs:
        study = (
            seeds.index(log.trial["seed"]) % len(points) if points and log.trial["seed"] in seeds else None
        )
        by_study.setdefault(study, []).append(log)
    found = []
    for study, logs in by_study.items():
        values = [_best(log, metric, higher=higher) for log in logs if counts(log)]
        value = float(np.mean(values)) if values else math.nan
        if math.isfinite(value):
            point = points.get(study, {}) if study is not None else {}
            name, label = row.trial.workload_name, row.trial.label
            found.append(Reference(name, label, point, metric, higher, value))
    return found


def _best(log: TrialLog, metric: str, *, higher: bool) -> float:
    """Return the best validation metric of a trial; infinitely bad for the worst outcome."""
    values = log.evaluations.metric("validation", metric) if log.evaluations else ()
    finite = [float(value) for value in values if math.isfinite(value)]
    if is_worst(log) or not finite:
        return -math.inf if higher else math.inf
    return max(finite) if higher else min(finite)


def _first(log: TrialLog, metric: str, value: float, *, higher: bool) -> float | None:
    """Return the epoch of the first evaluation that reaches the value; None if there is none."""
    if is_worst(log) or not log.evaluations:
        return None
    values = log.evaluations.metric("validation", metric)
    epochs = (evaluation.epoch for evaluation in log.evaluations)
    reaching = (
        epoch for epoch, one in zip(epochs, values, strict=True) if (one >= value if higher else one <= value)
    )
    return next(reaching, None)
