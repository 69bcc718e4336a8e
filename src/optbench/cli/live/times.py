"""Estimates of trial durations, from finished trials and the progress of running ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from optbench.events import Finished
from optbench.suite.tuning import pause_after
from optbench.suite.types import Trial


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def seconds_of(end: Finished) -> float:
    """Return the total wall time of a trial: training, evaluation and set-up."""
    return end.train_seconds + end.evaluation_seconds + end.setup_seconds


def trained_share(trial: Trial) -> float:
    """Return the share of its budget that a planned trial trains: less than 1 if it is paused for pruning."""
    if trial.rung is None:
        return 1.0
    budget, every = trial.workload.budget, trial.workload.evaluate.every
    return min(1.0, pause_after(trial.rung, budget, every) / budget.value)


@dataclass
class Mean:
    """A mean to which values are added."""

    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        self.total += value
        self.count += 1

    @property
    def value(self) -> float:
        return self.total / self.count


@dataclass
class DurationEstimates:
    """Durations of finished trials. Rows without finished trials are estimated from the others, in proportion to their budgets.

    Means are those of whole trials: the duration of a paused trial is divided by its share of the budget.
    """

    by_row: dict[str, Mean] = field(default_factory=dict)
    _by_budget: dict[str, Mean] = field(default_factory=dict)  # seconds per unit of budget, by unit

    def add(self, trial: Trial, end: Finished) -> None:
        budget = trial.workload.budget
        seconds = seconds_of(end) / (trained_share(trial) if end.status == "paused" else 1.0)
        self.by_row.setdefault(trial.config_id, Mean()).add(seconds)
        self._by_budget.setdefault(budget.unit, Mean()).add(seconds / budget.value)

    def expected(self, trial: Trial) -> float | None:
        """Return the expected seconds of a trial, up to its pause if it is paused for pruning; None if no comparable trial has finished."""
        if (own := self.by_row.get(trial.config_id)) is not None:
            return own.value * trained_share(trial)
        budget = trial.workload.budget
        alike = self._by_budget.get(budget.unit)
        return budget.value * alike.value * trained_share(trial) if alike is not None else None

    def total(self, trials: Iterable[Trial]) -> float | None:
        """Return the sum over all trials, run one after another; None if any is unknown."""
        estimates = [self.expected(trial) for trial in trials]
        durations = [seconds for seconds in estimates if seconds is not None]
        return sum(durations) if durations and len(durations) == len(estimates) else None


def seconds_left(
    durations: DurationEstimates,
    pending: Iterable[Trial],
    running: Mapping[str, float],
    totals: Mapping[str, float],
    at_once: int,
) -> float | None:
    """Return the estimated seconds until the last pending trial ends; None if unknown.

    `running` maps ids of running trials to their remaining seconds, where known; `totals` maps rows to the estimated
    seconds of a whole running trial, used for rows without a finished trial. `at_once` of the trials that do not run exclusively run in
    parallel.
    """
    if not durations.by_row and not totals:
        return None
    spare = sum(totals.values()) / len(totals) if totals else None
    alone, parallel = 0.0, 0.0
    for trial in pending:
        seconds = running.get(trial.id)
        if seconds is None and trial.config_id in totals and trial.config_id not in durations.by_row:
            seconds = totals[trial.config_id] * trained_share(trial)
        if seconds is None:
            seconds = durations.expected(trial)
        if seconds is None and spare is not None:
            seconds = spare * trained_share(trial)
        if seconds is None:
            return None
        if trial.is_alone:
            alone += seconds
        else:
            parallel += seconds
    return alone + parallel / max(1, at_once)
