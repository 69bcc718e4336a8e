"""The quantities of a trial that `compare` compares, by seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from optbench.analysis.frames import counts, is_worst
from optbench.analysis.rows import TableRow
from optbench.store import TrialLog


@dataclass(frozen=True)
class Quantity:
    """`ratio`: compared as after over before, else as their difference. `words` are for less and more of it."""

    name: str
    of_trial: Callable[[TrialLog], float]
    ratio: bool = True
    size: bool = False  # bytes: the same for all seeds, as a rule
    words: tuple[str, str] = ("less", "more")


def seconds_per_epoch(log: TrialLog) -> float:
    """Return training seconds per epoch; NaN if the trial was resumed or ended early."""
    per_epoch = log.started.steps_per_epoch if log.started else 0
    return seconds_per_step(log) * per_epoch if per_epoch > 0 else math.nan


def seconds_per_step(log: TrialLog) -> float:
    end = log.finished
    if end is None or end.status not in ("completed", "stopped") or end.step <= 0 or not log.seconds_count:
        return math.nan
    return end.train_seconds / end.step


def samples_per_second(log: TrialLog) -> float:
    if not log.evaluations:
        return math.nan
    samples, seconds = (log.evaluations.column(name)[-1] for name in ("samples", "train_seconds"))
    if not seconds > 0 or math.isnan(seconds_per_step(log)):
        return math.nan
    return float(samples / seconds)


def _bytes(name: str) -> Callable[[TrialLog], float]:
    def of_trial(log: TrialLog) -> float:
        value = getattr(log.finished, name, None)
        return math.nan if value is None else float(value)

    return of_trial


TIMES = ("faster", "slower")
#: per trial; time to target and the final metric are in `changes.py`, as they need their trials' censoring and worst outcomes
QUANTITIES = (
    Quantity("seconds_per_epoch", seconds_per_epoch, words=TIMES),
    Quantity("seconds_per_step", seconds_per_step, words=TIMES),
    Quantity("samples_per_second", samples_per_second, words=("slower", "faster")),
    Quantity("state_bytes", _bytes("state_bytes"), size=True),
    Quantity("step_peak_bytes", _bytes("step_peak_bytes"), size=True),
    Quantity("peak_memory_bytes", _bytes("peak_memory_bytes"), size=True),
)


def by_seed(row: TableRow, of_trial: Callable[[TrialLog], float]) -> dict[int, float]:
    """Return a quantity by seed, of trials that count and did not have the worst outcome; NaN if a trial did not record it."""
    return {log.trial["seed"]: of_trial(log) for log in row.logs if counts(log) and not is_worst(log)}


def worst_seeds(row: TableRow) -> set[int]:
    """Return the seeds that diverged, ran out of memory, or failed in the optimizer."""
    return {log.trial["seed"] for log in row.logs if is_worst(log)}


def missing_seeds(row: TableRow) -> list[int]:
    """Return the planned seeds that did not run, did not end, or were ended by the infrastructure."""
    ended: Iterable[int] = {log.trial["seed"] for log in row.logs if counts(log)}
    begun = {log.trial["seed"] for log in row.logs}
    return sorted((set(row.seeds) | begun) - set(ended))
