"""Convert the rows of a run to evaluations in the order of steps, and determine how the run ended."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from optbench.events import Evaluated, Event, Fault, Finished, Metrics, Started, Status
from optbench.suite.types import Target

NAN = math.nan
_EVALUATED = ("validation", "test")


@dataclass(frozen=True)
class Row:
    """One evaluation; what the log does not have is NaN."""

    step: int
    metrics: Metrics
    epoch: float = NAN
    samples: float = NAN
    seconds: float = NAN
    evaluation_seconds: float = NAN
    train_loss: float = NAN
    learning_rate: float = NAN
    gradient_evaluations: float = NAN

    def value(self, target: Target) -> float:
        return self.metrics.get(target.split, {}).get(target.metric, NAN)

    def contradicts(self, other: Row) -> bool:
        """Return whether a validation or test metric has two values."""
        for split in _EVALUATED:
            mine, their = self.metrics.get(split, {}), other.metrics.get(split, {})
            if any(not _same(mine[metric], their[metric]) for metric in mine.keys() & their.keys()):
                return True
        return False

    def merged(self, later: Row) -> Row:
        """Return one row of both. Clocks are those of the row that has validation metrics, else of the first."""
        metrics = {
            split: self.metrics.get(split, {}) | later.metrics.get(split, {})
            for split in dict.fromkeys([*self.metrics, *later.metrics])
        }
        first = later if later.metrics.get("validation") and not self.metrics.get("validation") else self
        second = self if first is later else later
        values = {
            name: _first(getattr(first, name), getattr(second, name))
            for name in ("epoch", "samples", "seconds", "evaluation_seconds", "gradient_evaluations")
        }
        values |= {
            name: _first(getattr(later, name), getattr(self, name))
            for name in ("train_loss", "learning_rate")
        }
        return Row(step=self.step, metrics=metrics, **values)


def _same(value: float, other: float) -> bool:
    return value == other or (math.isnan(value) and math.isnan(other))


def _first(value: float, other: float) -> float:
    return other if math.isnan(value) else value


@dataclass(frozen=True)
class Course:
    """A run's evaluations, steps rising, and how many rows of the log were treated in which way."""

    rows: tuple[Row, ...]
    repeated: int  # replaced by a later row, after a restart
    unused: int = 0  # rows of training between the evaluations
    unordered: int = 0  # rows that had to be sorted


def course(rows: Iterable[Row], targets: Sequence[Target]) -> Course:
    """Undo restarts: a row whose step goes back replaces what the log has from that step on.

    Except where all targets had been met by then: the first passage in the order of the log is what counts, and a
    restart afterwards does not take it back. Without a target the last word of the log counts.
    """
    kept: list[Row] = []
    repeated = 0
    open_targets = set(targets)
    for row in rows:
        if targets and not open_targets and row.step <= kept[-1].step:
            repeated += 1
            continue
        while kept and kept[-1].step >= row.step:
            kept.pop()
            repeated += 1
        kept.append(row)
        open_targets -= {target for target in open_targets if target.holds(row.value(target))}
    return Course(tuple(kept), repeated)


def merged_course(rows: Sequence[Row], targets: Sequence[Target]) -> Course:
    """Merge the rows of a step into one evaluation. Rows of training are used where a step has an evaluation too.

    Evaluations are the rows with a metric of validation or test; of a log without any, those with a metric; of a log
    without metrics, all.
    """
    evaluated = [row for row in rows if any(row.metrics.get(split) for split in _EVALUATED)]
    evaluated = evaluated or [row for row in rows if row.metrics] or list(rows)
    ordered = _ordered(evaluated, targets)
    kept = {id(row) for row in evaluated}
    training: dict[int, Row] = {}
    for row in rows:
        if id(row) not in kept:
            training[row.step] = training[row.step].merged(row) if row.step in training else row
    steps = {row.step for row in ordered.rows}
    merged = [training[row.step].merged(row) if row.step in training else row for row in ordered.rows]
    return replace(ordered, rows=tuple(merged), unused=len(training.keys() - steps))


def _ordered(rows: Sequence[Row], targets: Sequence[Target]) -> Course:
    """Sort and merge rows by step if those of one step agree; else later ones replace earlier ones, as in `course`.

    Steps that only fall are a log in reverse.
    """
    falls = sum(after.step < before.step for before, after in pairwise(rows))
    if falls and all(after.step <= before.step for before, after in pairwise(rows)):
        rows = rows[::-1]
    by_step: dict[int, Row] = {}
    for row in rows:
        before = by_step.get(row.step)
        if before is not None and before.contradicts(row):
            return course(_adjacent(rows), targets)
        by_step[row.step] = before.merged(row) if before is not None else row
    return Course(tuple(by_step[step] for step in sorted(by_step)), 0, unordered=falls)


def _adjacent(rows: Iterable[Row]) -> list[Row]:
    """Merge neighbours of one step that do not contradict each other."""
    merged: list[Row] = []
    for row in rows:
        if merged and merged[-1].step == row.step and not merged[-1].contradicts(row):
            merged[-1] = merged[-1].merged(row)
        else:
            merged.append(row)
    return merged


@dataclass(frozen=True)
class Facts:
    """Facts of a run besides its evaluations."""

    environment: dict[str, Any]
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)
    metric: str = ""  # decides whether the run diverged, and which evaluation was best
    split: str = "validation"  # of that metric
    higher_is_better: bool = True
    losses: tuple[
        tuple[str, str], ...
    ] = ()  # (split, metric) of which a last value that is not finite is a divergence
    status: Status | None = None  # where the log states it
    at_fault: Fault = ""  # of a failure


def events(rows: Sequence[Row], facts: Facts) -> list[Event]:
    """Return the run as events of the engine: started, evaluated ..., finished."""
    begin = Started(
        environment=facts.environment,
        parameters=0,
        parameter_bytes=0,
        initial_weights="",
        hyperparameters=[facts.hyperparameters],
        splits=facts.splits,
        steps=None,
        steps_per_epoch=1,
        precision="",
    )
    return [begin, *map(_evaluated, rows), _finished(rows, facts)]


def _evaluated(row: Row) -> Evaluated:
    return Evaluated(
        step=row.step,
        epoch=row.epoch,
        samples=row.samples,
        train_seconds=row.seconds,
        cpu_seconds=NAN,
        evaluation_seconds=row.evaluation_seconds,
        train_loss=row.train_loss,
        learning_rate=row.learning_rate,
        metrics=row.metrics,
        gradient_evaluations=_count(row.gradient_evaluations),
    )


def _count(value: float) -> int | None:
    return None if math.isnan(value) else int(value)


def _finished(rows: Sequence[Row], facts: Facts) -> Finished:
    if not rows:
        status = facts.status or "failed"
        return Finished(status=status, detail="the log has no evaluation", at_fault=facts.at_fault)
    last = rows[-1]
    divergence = _divergence(rows, facts)
    status = facts.status or ("diverged" if divergence else "completed")
    best = _best(rows, facts)
    final = {}
    if status in ("completed", "stopped"):
        final = {"last": _last(rows, "test"), "last_validation": _last(rows, "validation")}
        if not any(final.values()):
            final["last_train"] = _last(rows, "train")
        if best is not None:
            final["best_validation"] = best.metrics.get("test", {})
    return Finished(
        status=status,
        detail=divergence if status == "diverged" else "",
        step=last.step,
        final={name: metrics for name, metrics in final.items() if metrics},
        best_step=best.step if best is not None else None,
        train_seconds=last.seconds,
        cpu_seconds=NAN,
        evaluation_seconds=last.evaluation_seconds,
        setup_seconds=NAN,
        at_fault=facts.at_fault,
        gradient_evaluations=_count(last.gradient_evaluations),
    )


def _last(rows: Sequence[Row], split: str) -> dict[str, float]:
    """Return each metric's value at the last evaluation that has it."""
    values: dict[str, float] = {}
    for row in rows:
        values |= row.metrics.get(split, {})
    return values


def _divergence(rows: Sequence[Row], facts: Facts) -> str:
    """Return what is not finite at the end of the run; an empty text if the run did not diverge."""
    if not any(values for row in rows for values in row.metrics.values()):
        return "the log contains no metric of this run"
    for split, metric in ((facts.split, facts.metric), *facts.losses):
        value = _last(rows, split).get(metric, 0.0)
        if not math.isfinite(value):
            return f"the last {split} {metric} of the log is not a finite number"
    losses = [row.train_loss for row in rows if not math.isnan(row.train_loss)]
    if losses and math.isinf(losses[-1]):
        return "the last training loss of the log is not a finite number"
    return ""


def _best(rows: Sequence[Row], facts: Facts) -> Row | None:
    known = [row for row in rows if math.isfinite(_validation(row, facts.metric))]
    pick = max if facts.higher_is_better else min
    return pick(known, key=lambda row: _validation(row, facts.metric), default=None)


def _validation(row: Row, metric: str) -> float:
    return row.metrics.get("validation", {}).get(metric, NAN)
