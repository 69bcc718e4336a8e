"""Evaluations as a foreign log tells them: rows of numbers, restarts undone, and how the run seems to have ended."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from optbench.events import Evaluated, Event, Finished, Metrics, Started, Status
from optbench.suite.types import Target

NAN = math.nan


@dataclass(frozen=True)
class Row:
    """One evaluation; what the log does not tell is NaN."""

    step: int
    metrics: Metrics
    epoch: float = NAN
    samples: float = NAN
    seconds: float = NAN
    evaluation_seconds: float = NAN
    train_loss: float = NAN
    learning_rate: float = NAN

    def value(self, target: Target) -> float:
        return self.metrics.get(target.split, {}).get(target.metric, NAN)


@dataclass(frozen=True)
class Course:
    """A run's evaluations, steps rising; `repeated` rows of the log were done again after a restart."""

    rows: tuple[Row, ...]
    repeated: int


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


@dataclass(frozen=True)
class Facts:
    """What is known of a run besides its evaluations. `final` names the estimand of the final metrics."""

    environment: dict[str, Any]
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)
    metric: str = ""  # the one that tells whether the run diverged, and which evaluation was best
    split: str = "validation"  # of that metric
    higher_is_better: bool = True


def events(rows: Sequence[Row], facts: Facts) -> list[Event]:
    """The run as the engine would have told it: started, evaluated ..., finished."""
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
    )


def _finished(rows: Sequence[Row], facts: Facts) -> Finished:
    if not rows:
        return Finished(status="failed", detail="the log has no evaluation")
    last = rows[-1]
    diverged = not math.isfinite(last.metrics.get(facts.split, {}).get(facts.metric, NAN))
    status: Status = "diverged" if diverged else "completed"
    detail = f"the last {facts.split} {facts.metric} of the log is not a finite number" if diverged else ""
    best = _best(rows, facts)
    final = {}
    if not diverged:
        final = {"last": last.metrics.get("test", {}), "last_validation": last.metrics.get("validation", {})}
        if best is not None:
            final["best_validation"] = best.metrics.get("test", {})
    return Finished(
        status=status,
        detail=detail,
        step=last.step,
        final={name: metrics for name, metrics in final.items() if metrics},
        best_step=best.step if best is not None else None,
        train_seconds=last.seconds,
        cpu_seconds=NAN,
        evaluation_seconds=last.evaluation_seconds,
        setup_seconds=NAN,
    )


def _best(rows: Sequence[Row], facts: Facts) -> Row | None:
    known = [row for row in rows if math.isfinite(_validation(row, facts.metric))]
    pick = max if facts.higher_is_better else min
    return pick(known, key=lambda row: _validation(row, facts.metric), default=None)


def _validation(row: Row, metric: str) -> float:
    return row.metrics.get("validation", {}).get(metric, NAN)
