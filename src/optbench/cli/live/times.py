"""Estimates of trial durations, from finished trials and the progress of running ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from optbench.events import Finished
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
    """Durations of finished trials. Rows without finished trials are estimated from the others, in proportion to their budgets."""

    by_row: dict[str, Mean] = field(default_factory=dict)
    _by_budget: dict[str, Mean] = field(default_factory=dict)  # seconds per unit of budget, by unit

    def add(self, trial: Trial, seconds: float) -> None:
        budget = trial.workload.budget
        self.by_row.setdefault(trial.config_id, Mean()).add(seconds)
        self._by_budget.setdefault(budget.unit, Mean()).add(seconds / budget.value)

    def expected(self, trial: Trial) -> float | None:
        """Return the expected seconds of a trial; None if no comparable trial has finished."""
        if (own := self.by_row.get(trial.config_id)) is not None:
            return own.value
        budget = trial.workload.budget
        alike = self._by_budget.get(budget.unit)
        return budget.value * alike.value if alike is not None else None

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

    `running` maps ids of running trials to their remaining seconds, where known; `totals` maps rows to the estimated total
    seconds of a running trial, used for rows without a finished trial. `at_once` of the trials that do not run exclusively run in
    parallel.
    """
    if not durations.by_row and not totals:
        return None
    spare = sum(totals.values()) / len(totals) if totals else None
    alone, parallel = 0.0, 0.0
    for trial in pending:
        seconds = running.get(trial.id)
        if seconds is None and trial.config_id not in durations.by_row:
            seconds = totals.get(trial.config_id)
        if seconds is None:
            seconds = durations.expected(trial)
        if seconds is None:
            seconds = spare
        if seconds is None:
            return None
        if trial.is_alone:
            alone += seconds
        else:
            parallel += seconds
    return alone + parallel / max(1, at_once)
