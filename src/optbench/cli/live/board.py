"""State of a display, updated by events: one row per optimizer and workload, and warnings."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from optbench.cli.live.times import Known, seconds_left, seconds_of
from optbench.cli.live.trial_warnings import disturbance, end_warnings, evaluation_warnings
from optbench.events import Evaluated, Event, Finished, Progressed, Resumed, Started
from optbench.store import TrialLog
from optbench.store.attempts import Calibration
from optbench.suite.types import Trial

#: what makes a row: workload, label, budget, and whether it is a sweep
Key = tuple[str, str, str, bool]


@dataclass
class Course:
    """One trial under way, or the last one of its row."""

    trial: Trial
    steps: int | None = None
    steps_per_epoch: int = 1
    train: int = 0  # samples in the training split
    step: int = 0
    train_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    evaluated_step: int = 0
    heard: float = 0.0  # by the clock of `Board.now`
    curve: list[tuple[int, float]] = field(default_factory=list)  # step, metric on validation
    environment: dict[str, object] = field(default_factory=dict)
    hit: bool = False
    counted: bool = False  # among those that are done; it may be attempted again nevertheless

    @property
    def fraction(self) -> float:
        """Of the budget."""
        if self.steps:
            return min(1.0, self.step / self.steps)
        budget = self.trial.workload.budget
        return min(1.0, self.train_seconds / budget.value) if budget.unit == "seconds" else 0.0

    @property
    def total_seconds(self) -> float | None:
        """Return the estimated total duration at the present speed; None in the first 2 % of the budget."""
        fraction = self.fraction
        if fraction < 0.02 or not self.train_seconds > 0:
            return None
        evaluating = self.evaluation_seconds / self.evaluated_step * self.step if self.evaluated_step else 0.0
        return (self.train_seconds + evaluating) / fraction

    @property
    def pace(self) -> float | None:
        """Training samples per second."""
        samples = self.step * self.trial.samples_a_step(self.train)
        return samples / self.train_seconds if self.train_seconds > 0 and samples else None


@dataclass
class Row:
    """One optimizer of one workload."""

    name: str
    workload: str
    metric: str
    planned: int = 0
    done: int = 0
    reached: int = 0
    has_target: bool = False
    ended: Counter[str] = field(default_factory=Counter)  # trials by status, of those that are done
    running: list[str] = field(default_factory=list)  # ids of trials
    last: Course | None = None
    touched: int = 0  # the later, the higher

    @property
    def state(self) -> str:
        """running, waiting, done, or trouble: done, and something ended badly."""
        if self.running:
            return "running"
        if any(n for status, n in self.ended.items() if status not in ("completed", "stopped")):
            return "trouble"
        return "done" if self.done >= self.planned else "waiting"

    @property
    def latest(self) -> float | None:
        return self.last.curve[-1][1] if self.last and self.last.curve else None


@dataclass
class Board:
    """Rows in the order of the plan. `pending` are the trials that this run has still to end, by id."""

    rows: dict[Key, Row]
    pending: dict[str, Trial]
    planned: int
    at_once: int = 1  # trials of a sweep
    known: Known = field(default_factory=Known)
    courses: dict[str, Course] = field(default_factory=dict)  # by trial id
    troubles: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    """(trial, kind) -> (time of day, text), the latest last."""
    calibration: Calibration = field(default_factory=Calibration)
    began: float | None = field(default_factory=time.monotonic)  # None: not known
    _events: int = 0

    @classmethod
    def of(cls, wanted: Sequence[Trial], pending: Sequence[Trial], at_once: int = 1) -> Board:
        rows: dict[Key, Row] = {}
        for trial, name in zip(wanted, _names(wanted), strict=True):
            target = bool(trial.workload.target) and not trial.point
            row = rows.setdefault(
                key_of(trial), Row(name, trial.workload_name, trial.workload.metrics[0], has_target=target)
            )
            row.planned += 1
        return cls(rows, {trial.id: trial for trial in pending}, len(wanted), at_once)

    @property
    def done(self) -> int:
        return sum(row.done for row in self.rows.values())

    @property
    def running(self) -> list[Course]:
        return [self.courses[name] for row in self.rows.values() for name in row.running]

    @property
    def again(self) -> int:
        """Number of pending trials that are reruns of finished ones."""
        return sum(name in self.courses and self.courses[name].counted for name in self.pending)

    def replay(self, trial: Trial, log: TrialLog) -> None:
        """Apply the stored events of a trial, without the end of an unfinished one, which may resume. `pending` is unchanged."""
        if log.started is not None:
            self._apply(trial, log.started, "")
        for event in log.evaluations:
            self._apply(trial, event, "")
        row = self.rows[key_of(trial)]
        if log.is_complete and log.finished is not None:
            self._apply(trial, log.finished, "")
        elif trial.id in row.running:
            row.running.remove(trial.id)

    def goes_on(self, trial: Trial, seconds_ago: float) -> None:
        """Mark a replayed trial as running; its last event was `seconds_ago`."""
        row = self.rows[key_of(trial)]
        self._events += 1
        row.touched, row.last = self._events, self.courses.setdefault(trial.id, Course(trial))
        row.last.heard = time.monotonic() - seconds_ago
        row.running.append(trial.id)

    def take(self, trial: Trial, event: Event) -> list[str]:
        """Apply an event and return new warnings."""
        if isinstance(event, Finished) and event.status != "interrupted":
            self.pending.pop(trial.id, None)
        return self._apply(trial, event, time.strftime("%H:%M:%S"))

    def _apply(self, trial: Trial, event: Event, clock: str) -> list[str]:
        """Apply an event without counting its trial as ended by this run. `clock` is the time of day of new warnings."""
        row = self.rows[key_of(trial)]
        course = self.courses.setdefault(trial.id, Course(trial))
        self._events += 1
        row.touched, row.last = self._events, course
        course.heard = time.monotonic()
        if isinstance(event, Finished):
            found = self._end(row, course, event)
        else:
            if trial.id not in row.running:
                row.running.append(trial.id)
            found = self._go_on(row, course, event)
        new = []
        for kind, text in found:
            if self.troubles.pop((trial.id, kind), None) is None:
                new.append(text)
            self.troubles[trial.id, kind] = (clock, text)
        return new

    def seconds_left(self) -> float | None:
        """Return the estimated seconds until the run ends; None if unknown."""
        now = time.monotonic()
        left, totals = {}, {}
        for course in self.running:
            total = course.total_seconds
            if total is None:
                total = self.known.expected(course.trial)
            else:
                totals[course.trial.config_id] = total
            if total is not None:
                left[course.trial.id] = max(0.0, total * (1 - course.fraction) - (now - course.heard))
        at_once = max(self.at_once, sum(bool(course.trial.point) for course in self.running))
        return seconds_left(self.known, self.pending.values(), left, totals, at_once)

    def _go_on(self, row: Row, course: Course, event: Event) -> Iterable[tuple[str, str]]:
        if isinstance(event, Started):
            course.steps, course.steps_per_epoch = event.steps, max(1, event.steps_per_epoch)
            course.train, course.environment = event.splits.get("train", 0), event.environment
            _back_to(course, row, 0)
        elif isinstance(event, Resumed):
            _back_to(course, row, event.step)
        elif isinstance(event, Progressed):
            course.step, course.train_seconds = event.step, event.train_seconds
            if event.note:
                return [
                    (
                        "checkpoint",
                        f"{row.name}{setting_of(course.trial)}: {event.note}",
                    )
                ]
        elif isinstance(event, Evaluated):
            return self._evaluated(row, course, event)
        return ()

    def _evaluated(self, row: Row, course: Course, event: Evaluated) -> Iterable[tuple[str, str]]:
        course.step, course.evaluated_step = event.step, event.step
        course.train_seconds, course.evaluation_seconds = event.train_seconds, event.evaluation_seconds
        value = event.metrics.get("validation", {}).get(row.metric, math.nan)
        course.curve.append((event.step, value))
        targets = course.trial.workload.target if row.has_target else ()
        met = [
            target.holds(event.metrics.get(target.split, {}).get(target.metric, math.nan))
            for target in targets
        ]
        if targets and not course.hit and all(met):
            course.hit = True
            row.reached += 1
        return evaluation_warnings(f"{row.name}{setting_of(course.trial)}", event)

    def _end(self, row: Row, course: Course, event: Finished) -> Iterable[tuple[str, str]]:
        trial = course.trial
        row.running = [other for other in row.running if other != trial.id]
        course.step = max(course.step, event.step)
        final = event.status != "interrupted" and event.at_fault != "infrastructure"
        if final and not course.counted:
            course.counted = True
            row.done += 1
            row.ended[event.status] += 1
            if event.status == "completed":
                self.known.add(trial, seconds_of(event))
        name = f"{row.name}{setting_of(trial)}"
        return [
            *end_warnings(name, event, course.step / course.steps_per_epoch),
            *disturbance(self.calibration, name, trial, course.environment, event),
        ]


def key_of(trial: Trial) -> Key:
    return trial.workload_name, trial.label, str(trial.workload.budget), bool(trial.point)


def setting_of(trial: Trial) -> str:
    """Return the hyperparameter values and the seed of a trial as text. The seed of a tuning trial is the study's, not the suite's."""
    values = "".join(
        f" {name}={value:g}" if isinstance(value, (int, float)) else f" {name}={value}"
        for name, value in trial.point.items()
    )
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


def _back_to(course: Course, row: Row, step: int) -> None:
    """Reset the course to a checkpoint's step: later evaluations will be repeated."""
    course.step = step
    if step == 0:
        course.train_seconds = course.evaluation_seconds = 0.0
        course.evaluated_step = 0
        if course.hit:
            course.hit = False
            row.reached -= 1
    course.curve = [(at, value) for at, value in course.curve if at <= step]
