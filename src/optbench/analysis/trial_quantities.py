"""Quantities of a trial that a statement can be about, by name: one number per trial."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from optbench.analysis.costs import FACTS, Fact, last
from optbench.analysis.frames import UNITS, first_holding, is_worst
from optbench.analysis.quantities import seconds_per_epoch
from optbench.analysis.rows import TableRow
from optbench.store import TrialLog


@dataclass(frozen=True)
class TrialQuantity:
    """A number that each trial has; None or NaN where a trial did not record it."""

    of_trial: Fact
    share: bool = False  # 0 or 1 per trial: judged as a share of trials
    exact: bool = False  # counted without noise: judged by its value, from one trial on
    within: tuple[float, float] = (0.0, math.inf)


def _maximum(name: str) -> Fact:
    def of_trial(log: TrialLog) -> float | None:
        values = (
            [value for value in log.evaluations.column(name) if value is not None] if log.evaluations else []
        )
        return max(values, default=None)

    return of_trial


def _first(name: str) -> Fact:
    return lambda log: log.evaluations.column(name)[0] if log.evaluations else None


def _rate_drops(log: TrialLog) -> float | None:
    """Return the number of evaluations with a lower learning rate than the one before."""
    rates = log.evaluations.column("learning_rate") if log.evaluations else []
    known = [rate for rate in rates if rate is not None and not math.isnan(rate)]
    return float(sum(after < before for before, after in itertools.pairwise(known))) if known else None


def _norm_growth(log: TrialLog) -> float | None:
    """Return the maximum norm of the second interval between evaluations over the median of the first."""
    if len(log.evaluations) < 2:
        return None
    median, maximum = (
        log.evaluations.column("gradient_norm_median")[0],
        log.evaluations.column("gradient_norm_max")[1],
    )
    return maximum / median if median and maximum is not None else None


def _status(*statuses: str) -> Fact:
    return lambda log: float(log.finished.status in statuses) if log.finished else None


def _state_multiple(log: TrialLog) -> float | None:
    if log.started is None or log.finished is None or log.finished.state_bytes is None:
        return None
    if log.finished.state_note:  # a lower limit
        return None
    return log.finished.state_bytes / log.started.parameter_bytes if log.started.parameter_bytes else None


def _end(name: str) -> Fact:
    return lambda log: getattr(log.finished, name, None)


def _start(name: str) -> Fact:
    return lambda log: getattr(log.started, name, None)


#: by the names of `suite/quantities.py`; the final and the validation metric, `reached` and times to target depend on the workload
QUANTITIES: dict[str, TrialQuantity] = {
    "diverged": TrialQuantity(_status("diverged"), share=True),
    "completed": TrialQuantity(lambda log: float(not is_worst(log)), share=True),
    "failed_to_train": TrialQuantity(lambda log: float(is_worst(log)), share=True),
    "state_multiple": TrialQuantity(_state_multiple, exact=True),
    "state_bytes": TrialQuantity(_end("state_bytes"), exact=True),
    "step_peak_bytes": TrialQuantity(_end("step_peak_bytes"), exact=True),
    "peak_memory_bytes": TrialQuantity(_end("peak_memory_bytes")),
    "activation_bytes": TrialQuantity(_start("activation_bytes"), exact=True),
    "training_bytes": TrialQuantity(FACTS["training_bytes"], exact=True),
    "flops_per_update": TrialQuantity(FACTS["flops_per_update"], exact=True),
    "seconds_per_update": TrialQuantity(FACTS["seconds_per_update"]),
    "seconds_per_epoch": TrialQuantity(seconds_per_epoch),
    "loss_rises": TrialQuantity(FACTS["loss_rises"], within=(0.0, 1.0)),
    "clipped_steps": TrialQuantity(FACTS["clipped"], within=(0.0, 1.0)),
    "skipped_steps": TrialQuantity(last("skipped_steps")),
    "rate_drops": TrialQuantity(_rate_drops),
    "exploded_steps": TrialQuantity(last("exploded_steps")),
    "vanished_steps": TrialQuantity(last("vanished_steps")),
    "gradient_norm_max": TrialQuantity(_maximum("gradient_norm_max")),
    "gradient_norm_first": TrialQuantity(_first("gradient_norm_max")),
    "gradient_norm_growth": TrialQuantity(_norm_growth),
    "gradient_variance_start": TrialQuantity(_start("gradient_variance")),
    "gradient_variance_end": TrialQuantity(_end("gradient_variance")),
    "embedding_norm_max": TrialQuantity(_end("embedding_norm_max")),
    "gradient_noise_start": TrialQuantity(_start("gradient_noise")),
    "gradient_noise_end": TrialQuantity(_end("gradient_noise")),
    "gradient_evaluations": TrialQuantity(_end("gradient_evaluations")),
    "data_wait": TrialQuantity(FACTS["data_wait"], within=(0.0, 1.0)),
}
#: quantities with censored values
TIMES = tuple(f"{unit}_to_target" for unit in UNITS)


def quantity_of(name: str, row: TableRow) -> TrialQuantity:
    """Return the quantity of this name for the trials of a row; not for times to target and metrics with worst values."""
    if name == "reached":
        targets = row.trial.workload.target
        return TrialQuantity(
            lambda log: float(first_holding(log, targets[0]) is not None) if targets else None, share=True
        )
    return QUANTITIES.get(name) or TrialQuantity(_metric_of(name, row.estimand), within=(-math.inf, math.inf))


def _metric_of(name: str, estimand: str) -> Callable[[TrialLog], Any]:
    """Return the function that reads `validation.NAME` (last evaluation), `mean_validation.NAME` or `test.NAME` (final) of a trial."""
    split, _, metric = name.partition(".")

    def of_trial(log: TrialLog) -> float | None:
        if split == "test":
            return log.finished.final.get(estimand, {}).get(metric) if log.finished else None
        if not log.evaluations:
            return None
        values = [float(value) for value in log.evaluations.metric("validation", metric)]
        return math.fsum(values) / len(values) if split == "mean_validation" else values[-1]

    return of_trial
