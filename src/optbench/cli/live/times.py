"""Estimates of trial durations, from finished trials and the progress of running ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    """Wall time of a trial in all: training, evaluation and set-up."""
    return end.train_seconds + end.evaluation_seconds + end.setup_seconds


@dataclass
class Known:
    """Seconds of whole trials. A row without any is estimated from all others, in proportion to its budget."""

    by_row: dict[str, list[float]] = field(default_factory=dict)
    _by_budget: dict[str, list[float]] = field(default_factory=dict)  # seconds per unit of budget, by unit

    def add(self, trial: Trial, seconds: float) -> None:
        budget = trial.workload.budget
        self.by_row.setdefault(trial.config_id, []).append(seconds)
        self._by_budget.setdefault(budget.unit, []).append(seconds / budget.value)

    def expected(self, trial: Trial) -> float | None:
        """None as long as nothing like it has finished."""
        own = self.by_row.get(trial.config_id)
        if own:
            return sum(own) / len(own)
        budget = trial.workload.budget
        alike = self._by_budget.get(budget.unit)
        return budget.value * sum(alike) / len(alike) if alike else None

    def total(self, trials: Iterable[Trial]) -> float | None:
        """Of all these trials, one after another; None if some can't be told."""
        each = [self.expected(trial) for trial in trials]
        told = [seconds for seconds in each if seconds is not None]
        return sum(told) if told and len(told) == len(each) else None


def seconds_left(
    known: Known,
    pending: Sequence[Trial],
    running: Mapping[str, float],
    totals: Mapping[str, float],
    at_once: int,
) -> float | None:
    """Until the last of the pending trials ends; None if nothing tells.

    `running` has the seconds that are left of those under way, by id, as far as they tell; `totals` what these will have taken
    in all, by row: they stand in for a row of which no trial has finished. Sweeps run `at_once` at a time.
    """
    if not known.by_row and not totals:
        return None
    spare = sum(totals.values()) / len(totals) if totals else None
    sums = {True: 0.0, False: 0.0}
    for trial in pending:
        seconds = running.get(trial.id)
        if seconds is None and trial.config_id not in known.by_row:
            seconds = totals.get(trial.config_id)
        if seconds is None:
            seconds = known.expected(trial)
        if seconds is None:
            seconds = spare
        if seconds is None:
            return None
        sums[bool(trial.point)] += seconds
    return sums[False] + sums[True] / max(1, at_once)
