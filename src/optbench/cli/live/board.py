"""State of a display, updated by events: one row per optimizer and workload, and warnings."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from optbench.cli.live.times import DurationEstimates, seconds_left, trained_share
from optbench.cli.live.trial_warnings import disturbance, end_warnings, evaluation_warnings
from optbench.events import Evaluated, Event, Finished, Progressed, Resumed, Started
from optbench.store import TrialLog
from optbench.store.attempts import Calibration
from optbench.suite.dump import setting_text
from optbench.suite.types import Trial

#: what makes a row: workload, label, budget, and whether it is a sweep
Key = tuple[str, str, str, bool]


@dataclass
class TrialProgress:
    """Progress of a running trial, or of the last one of its row."""

    trial: Trial
    steps: int | None = None
    steps_per_epoch: int = 1
    train: int = 0  # samples in the training split
    step: int = 0
    train_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    evaluated_step: int = 0
    last_event_time: float = 0.0  # by `time.monotonic`
    curve: list[tuple[int, float]] = field(default_factory=list)  # step, metric on validation
    environment: dict[str, object] = field(default_factory=dict)
    has_reached_target: bool = False
    is_counted: bool = False  # among the finished trials: this is a rerun

    @property
    def fraction(self) -> float:
        """Return the completed share of the budget."""
        if self.steps:
            return min(1.0, self.step / self.steps)
        budget = self.trial.workload.budget
        return min(1.0, self.train_seconds / budget.value) if budget.unit == "seconds" else 0.0

    @property
    def total_seconds(self) -> float | None:
        """Return the estimated duration of the whole budget at the present speed; None in the first 2 % of the budget."""
        fraction = self.fraction
        if fraction < 0.02 or not self.train_seconds > 0:
            return None
        evaluating = self.evaluation_seconds / self.evaluated_step * self.step if self.evaluated_step else 0.0
        return (self.train_seconds + evaluating) / fraction

    @property
    def samples_per_second(self) -> float | None:
        """Return the training samples per second; None before the first step."""
        samples = self.step * self.trial.samples_per_step(self.train)
        return samples / self.train_seconds if self.train_seconds > 0 and samples else None


@dataclass
class Row:
    """One optimizer of one workload."""

    name: str
    workload: str
    metric: str
    in_percent: bool = False
    planned: int = 0
    done: int = 0
    reached: int = 0
    has_target: bool = False
    ended: Counter[str] = field(default_factory=Counter)  # finished trials by status
    running: list[str] = field(default_factory=list)  # ids of trials
    last: TrialProgress | None = None
    last_event: int = 0  # number of its last event

    @property
    def state(self) -> str:
        """Return running, waiting, done, or problem: a trial failed or diverged."""
        if self.running:
            return "running"
        if any(n for status, n in self.ended.items() if status not in ("completed", "stopped", "paused")):
            return "problem"
        return "done" if self.done >= self.planned else "waiting"

    @property
    def latest(self) -> float | None:
        return self.last.curve[-1][1] if self.last and self.last.curve else None


@dataclass
class Board:
    """Rows in the order of the plan. `pending`: trials that this run has not finished, by id."""

    rows: dict[Key, Row]
    pending: dict[str, Trial]
    planned: int
    at_once: int = 1  # of the trials that do not run exclusively
    durations: DurationEstimates = field(default_factory=DurationEstimates)
    progress_of: dict[str, TrialProgress] = field(default_factory=dict)  # by trial id, of unfinished trials
    finished: dict[str, bool] = field(default_factory=dict)  # by trial id: whether it has reached the target
    warnings: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    """(trial, kind) -> (time of day, text), in the order of time."""
    calibration: Calibration = field(default_factory=Calibration)
    began: float | None = field(default_factory=time.monotonic)  # None: unknown
    _events: int = 0

    @classmethod
    def of(
        cls,
        wanted: Sequence[Trial],
        pending: Sequence[Trial],
        at_once: int = 1,
        *,
        fractions: Collection[str] = (),
    ) -> Board:
        """Return the board of a run. `fractions`: metrics that are shown in percent."""
        rows: dict[Key, Row] = {}
        for trial, name in zip(wanted, _names(wanted), strict=True):
            metric, target = trial.workload.metrics[0], bool(trial.workload.target) and not trial.point
            new = Row(name, trial.workload_name, metric, metric in fractions, has_target=target)
            row = rows.setdefault(key_of(trial), new)
            row.planned += 1
        return cls(rows, {trial.id: trial for trial in pending}, len(wanted), at_once)

    @property
    def done(self) -> int:
        return sum(row.done for row in self.rows.values())

    @property
    def running(self) -> list[TrialProgress]:
        return [self.progress_of[name] for row in self.rows.values() for name in row.running]

    @property
    def reruns(self) -> int:
        """Number of pending trials that are reruns of finished ones."""
        return sum(name in self.finished for name in self.pending)

    def replay(self, trial: Trial, log: TrialLog) -> None:
        """Apply the stored events of a trial, without the end of an unfinished one, which may resume. `pending` is unchanged."""
        if log.started is not None:
            self._apply_event(trial, log.started, "")
        row, first = self.rows[key_of(trial)], 0
        if log.is_complete and not row.has_target:  # there may be 100,000: only the last evaluation matters
            values = log.evaluations.metric("validation", row.metric)
            self._progress(trial).curve = list(zip(log.evaluations.column("step"), values, strict=True))[:-1]
            first = max(0, len(log.evaluations) - 1)
        for event in log.evaluations[first:]:
            self._apply_event(trial, event, "")
        if log.has_ended(trial.rung) and log.finished is not None:
            self._apply_event(trial, log.finished, "")
        elif trial.id in row.running:
            row.running.remove(trial.id)

    def mark_running(self, trial: Trial, seconds_ago: float) -> None:
        """Mark a replayed trial as running; its last event was `seconds_ago`."""
        row = self.rows[key_of(trial)]
        self._events += 1
        row.last_event, row.last = self._events, self._progress(trial)
        row.last.last_event_time = time.monotonic() - seconds_ago
        row.running.append(trial.id)

    def apply(self, trial: Trial, event: Event) -> list[str]:
        """Apply an event and return new warnings."""
        if isinstance(event, Finished) and event.status != "interrupted":
            self.pending.pop(trial.id, None)
        return self._apply_event(trial, event, time.strftime("%H:%M:%S"))

    def _apply_event(self, trial: Trial, event: Event, clock: str) -> list[str]:
        """Apply an event without counting its trial as ended by this run. `clock` is the time of day of new warnings."""
        row = self.rows[key_of(trial)]
        progress = self._progress(trial)
        self._events += 1
        row.last_event, row.last = self._events, progress
        progress.last_event_time = time.monotonic()
        if isinstance(event, Finished):
            found = self._end(row, progress, event)
        else:
            if trial.id not in row.running:
                row.running.append(trial.id)
            found = self._apply_running(row, progress, event)
        new = []
        for kind, text in found:
            if self.warnings.pop((trial.id, kind), None) is None:
                new.append(text)
            self.warnings[trial.id, kind] = (clock, text)
        return new

    def _progress(self, trial: Trial) -> TrialProgress:
        """Return the progress of a trial; a new one if the trial has finished and runs again."""
        if trial.id not in self.progress_of:
            reached = self.finished.get(trial.id)
            self.progress_of[trial.id] = TrialProgress(
                trial, has_reached_target=bool(reached), is_counted=reached is not None
            )
        return self.progress_of[trial.id]

    def seconds_left(self) -> float | None:
        """Return the estimated seconds until the run ends; None if unknown."""
        now = time.monotonic()
        left, totals = {}, {}
        for progress in self.running:
            trial, share = progress.trial, trained_share(progress.trial)
            whole = progress.total_seconds
            if whole is not None:
                totals[trial.config_id] = whole
            elif (expected := self.durations.expected(trial)) is not None:
                whole = expected / share
            if whole is not None:
                seconds = whole * max(0.0, share - progress.fraction)
                left[trial.id] = max(0.0, seconds - (now - progress.last_event_time))
        at_once = max(self.at_once, sum(not progress.trial.is_alone for progress in self.running))
        return seconds_left(self.durations, self.pending.values(), left, totals, at_once)

    def _apply_running(self, row: Row, progress: TrialProgress, event: Event) -> Iterable[tuple[str, str]]:
        if isinstance(event, Started):
            progress.steps, progress.steps_per_epoch = event.steps, max(1, event.steps_per_epoch)
            progress.train, progress.environment = event.splits.get("train", 0), event.environment
            _rewind(progress, row, 0)
        elif isinstance(event, Resumed):
            _rewind(progress, row, event.step)
        elif isinstance(event, Progressed):
            progress.step, progress.train_seconds = event.step, event.train_seconds
            if event.note:
                return [
                    (
                        "checkpoint",
                        f"{row.name}{setting_of(progress.trial)}: {event.note}",
                    )
                ]
        elif isinstance(event, Evaluated):
            return self._evaluated(row, progress, event)
        return ()

    def _evaluated(self, row: Row, progress: TrialProgress, event: Evaluated) -> Iterable[tuple[str, str]]:
        progress.step, progress.evaluated_step = event.step, event.step
        progress.train_seconds, progress.evaluation_seconds = event.train_seconds, event.evaluation_seconds
        value = event.metrics.get("validation", {}).get(row.metric, math.nan)
        progress.curve.append((event.step, value))
        targets = progress.trial.workload.target if row.has_target else ()
        met = [
            target.holds(event.metrics.get(target.split, {}).get(target.metric, math.nan))
            for target in targets
        ]
        if targets and not progress.has_reached_target and all(met):
            progress.has_reached_target = True
            row.reached += 1
        return evaluation_warnings(f"{row.name}{setting_of(progress.trial)}", event)

    def _end(self, row: Row, progress: TrialProgress, event: Finished) -> Iterable[tuple[str, str]]:
        trial = progress.trial
        row.running = [other for other in row.running if other != trial.id]
        progress.step = max(progress.step, event.step)
        final = event.status != "interrupted" and event.at_fault != "infrastructure"
        if final:
            self.finished[trial.id] = progress.has_reached_target
            del self.progress_of[trial.id]  # there may be 100,000
        if final and not progress.is_counted:
            row.done += 1
            row.ended[event.status] += 1
            if event.status in ("completed", "paused"):
                self.durations.add(trial, event)
        name = f"{row.name}{setting_of(trial)}"
        return [
            *end_warnings(name, event, progress.step / progress.steps_per_epoch),
            *disturbance(self.calibration, name, trial, progress.environment, event),
        ]


def key_of(trial: Trial) -> Key:
    return trial.workload_name, trial.label, str(trial.workload.budget), bool(trial.point)


def setting_of(trial: Trial) -> str:
    """Return the hyperparameter values and the seed of a trial as text. The seed of a tuning trial is the study's, not the suite's."""
    values = "".join(f" {name}={setting_text(value)}" for name, value in trial.point.items())
    return values if trial.study is not None else f"{values} seed {trial.seed}"


def _names(wanted: Sequence[Trial]) -> list[str]:
    several = len({trial.workload_name for trial in wanted}) > 1
    lengths = {(trial.workload_name, str(trial.workload.budget)) for trial in wanted if not trial.point}
    budgets = Counter(workload for workload, _ in lengths)
    names = []
    for trial in wanted:
        name = f"{trial.workload_name} | {trial.label}" if several else trial.label
        if trial.point:
            name += " (tuning)" if trial.study is not None else " (sweep)"
        elif budgets[trial.workload_name] > 1:
            name += f" ({trial.workload.budget})"
        names.append(name)
    return names


def _rewind(progress: TrialProgress, row: Row, step: int) -> None:
    """Reset the progress to a checkpoint's step: later evaluations will be repeated."""
    progress.step = step
    if step == 0:
        progress.train_seconds = progress.evaluation_seconds = 0.0
        progress.evaluated_step = 0
        if progress.has_reached_target:
            progress.has_reached_target = False
            row.reached -= 1
    progress.curve = [(at, value) for at, value in progress.curve if at <= step]
