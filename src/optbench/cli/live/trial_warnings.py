"""Warnings about running trials: pairs of a kind and a message. The display shows each kind once per trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from optbench.events import Evaluated, Finished
from optbench.store.attempts import DISTURBED, QUEUED, Calibration, cpu_share_of, queued_share_of
from optbench.suite.types import Trial


def evaluation_warnings(name: str, event: Evaluated) -> Iterator[tuple[str, str]]:
    for kind, steps in (("exploded", event.exploded_steps), ("vanished", event.vanished_steps)):
        if steps:
            message = (
                f"{name}: gradients {kind} at {steps} step{'s' * (steps != 1)} by epoch {event.epoch:.3g}"
            )
            yield kind, message


def end_warnings(name: str, event: Finished, epoch: float) -> Iterator[tuple[str, str]]:
    why = f": {event.reason}" if event.reason else ""
    if event.at_fault == "infrastructure" and event.status == "interrupted":
        yield "lost", f"{name}: interrupted by the infrastructure{why}"
    elif event.at_fault == "infrastructure":
        yield "lost", f"{name}: lost{why}; the next run or worker continues the trial"
    elif event.status == "diverged":
        yield "diverged", f"{name}: diverged at epoch {epoch:.3g}{why}"
    elif event.status == "failed":
        yield "failed", f"{name}: failed{why}"
    elif event.status == "out_of_memory":
        yield "memory", f"{name}: out of memory{why}"


def disturbance(
    calibration: Calibration, name: str, trial: Trial, environment: Mapping[str, object], end: Finished
) -> Iterator[tuple[str, str]]:
    """Compare the CPU share of a finished timed trial with earlier trials, and add it to `calibration`."""
    share = cpu_share_of(environment, end) if trial.is_alone else None
    if share is None:
        return
    calibration.add(trial.config_id, trial.workload_name, share)
    best = calibration.best(trial.config_id, trial.workload_name)
    queued = queued_share_of(environment, end)
    if queued > QUEUED:
        yield "disturbed", f"{name}: disturbed: its threads waited for a CPU {100 * queued:.0f} % of the time"
    elif share < DISTURBED * best:
        lost = 100 * (1 - share / best)
        message = f"{name}: disturbed: got {lost:.0f} % less CPU time than the best trial of this workload"
        yield "disturbed", message
