"""Select the attempt of a trial that counts. Timed trials disturbed by other load are rerun; no measurement is deleted.

Disturbed (decision 15): a trial on the CPU

- whose threads were ready to run but had no processor for more than 0.05 of wall time x threads (counted by the kernel, so
  that load during a whole run is detected too);
- that got less than 0.9 of the CPU share given by its calibration;
- or that ran while a hypervisor gave more than 0.05 of the processors to other machines.

The calibration of a row (the trials that differ only in their seed) is the highest share of CPU time over wall time x threads
among its own trials and attempts on that machine; it is small for a model that cannot use all threads. A row with a single
record is compared with the best of its workload until a second attempt provides a value for the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from optbench.events import FINGERPRINT, Evaluated, Finished

if TYPE_CHECKING:
    from optbench.store.log import TrialLog

DISTURBED = 0.9  # of the calibration
QUEUED = 0.05  # of wall time x threads
STEAL = 0.05  # of all processors' time, given to others by the hypervisor

_WHOLE = ("completed", "stopped")


def cpu_share(log: TrialLog) -> float | None:
    """Return CPU time / (wall time x threads) of training, None where it does not indicate other load.

    That is on a GPU, in a sweep or without timing (parallel trials), after a restart, in a trial that did not finish, and without records.
    """
    if log.started is None or log.finished is None or not log.is_complete:
        return None
    if log.timings_interrupted or not log.was_alone:
        return None
    return cpu_share_of(log.started.environment, log.finished)


def cpu_share_of(environment: Mapping[str, Any], end: Finished) -> float | None:
    """Return CPU time / (wall time x threads) of a finished training on a CPU, None if the records lack it."""
    wall = _thread_seconds(environment, end)
    if (
        environment.get("device") != "cpu"
        or end.status not in _WHOLE
        or not (wall > 0 and end.cpu_seconds >= 0)
    ):
        return None
    return end.cpu_seconds / wall


def queued_share_of(environment: Mapping[str, Any], end: Finished) -> float:
    """Return the share of wall time x threads in which runnable threads had no processor, 0 if not recorded."""
    wall = _thread_seconds(environment, end)
    return end.queued_seconds / wall if end.queued_seconds is not None and wall > 0 else 0.0


def _thread_seconds(environment: Mapping[str, Any], end: Finished) -> float:
    threads = environment.get("threads")
    return end.train_seconds * (threads if isinstance(threads, int) else 1)


class Calibration:
    """The CPU share that each row can use, from the shares of its trials or of its workload."""

    def __init__(self) -> None:
        self._of_row: dict[Any, list[float]] = {}
        self._of_workload: dict[Any, float] = {}

    def add(self, row: Any, workload: Any, share: float) -> None:
        self._of_row.setdefault(row, []).append(share)
        self._of_workload[workload] = max(share, self._of_workload.get(workload, 0.0))

    def best(self, row: Any, workload: Any) -> float:
        """Return the maximum share of a row, or of its workload. Both must have been added."""
        own = self._of_row[row]
        return max(own) if len(own) > 1 else self._of_workload[workload]


def settled(logs: Iterable[TrialLog]) -> tuple[TrialLog, ...]:
    """Return one log per trial: its first undisturbed attempt, otherwise its first, marked as `disturbed`.

    `logs` are all logs of a suite. The other complete attempts are in `others`; incomplete attempts are ignored.
    """
    trials: dict[str, list[TrialLog]] = {}
    for log in logs:
        trials.setdefault(log.id, []).append(log)
    attempts = {
        name: [of[0], *(log for log in of[1:] if log.is_complete)]
        for name, unsorted in trials.items()
        for of in [sorted(unsorted, key=lambda log: log.attempt)]
    }
    every = [log for of in attempts.values() for log in of]
    is_disturbed = _judge(every)
    return tuple(_chosen(of, is_disturbed) for of in attempts.values())


def to_run_again(logs: Iterable[TrialLog], reruns: int) -> tuple[TrialLog, ...]:
    """Return the settled logs that are still disturbed and may be rerun."""
    return tuple(log for log in logs if log.disturbed and log.attempts <= reruns)


def disagreement(log: TrialLog) -> str:
    """Return how results of the attempts of a settled log differ, "" if they agree, as on one CPU they should bit for bit."""
    for other in log.others:
        if _comparable(log, other) and (difference := _difference(log, other)):
            return f"attempts {log.attempt} and {other.attempt} differ {difference}"
    return ""


def _judge(logs: Sequence[TrialLog]) -> Callable[[TrialLog], bool]:
    shares = {id(log): share for log in logs if (share := cpu_share(log)) is not None}
    calibration = Calibration()
    for log in logs:
        if (share := shares.get(id(log))) is not None:
            calibration.add(_row(log), _workload(log), share)

    def is_disturbed(log: TrialLog) -> bool:
        share = shares.get(id(log))
        if share is None:
            return False
        best = calibration.best(_row(log), _workload(log))
        return share < DISTURBED * best or _queued(log) > QUEUED or _steal(log) > STEAL

    return is_disturbed


def _row(log: TrialLog) -> tuple[Any, ...]:
    return log.config_id, *_machine(log)


def _workload(log: TrialLog) -> tuple[Any, ...]:
    return log.trial["workload_name"], *_machine(log)


def _machine(log: TrialLog) -> tuple[Any, ...]:
    facts = log.started.environment if log.started is not None else {}
    return tuple(str(facts.get(name)) for name in ("host", "device_name", "threads"))


def _queued(log: TrialLog) -> float:
    return queued_share_of(log.started.environment, log.finished) if log.started and log.finished else 0.0


def _steal(log: TrialLog) -> float:
    return log.finished.resources.get("cpu_steal", {}).get("mean", 0.0) if log.finished else 0.0


def _chosen(attempts: list[TrialLog], is_disturbed: Callable[[TrialLog], bool]) -> TrialLog:
    first = attempts[0]
    if cpu_share(first) is None:  # its seconds are not judged, so nothing can be better
        chosen, disturbed = first, False
    else:
        undisturbed = (log for log in attempts if cpu_share(log) is not None and not is_disturbed(log))
        candidate = next(undisturbed, None)
        chosen, disturbed = candidate or first, candidate is None
    others = tuple(log for log in attempts if log is not chosen)
    if not others and not disturbed:
        return chosen
    return replace(chosen, attempts=len(attempts), disturbed=disturbed, others=others)


def _comparable(log: TrialLog, other: TrialLog) -> bool:
    """Return whether both ran on one CPU with the same versions and steps. The steps of a budget in seconds vary."""
    if log.started is None or other.started is None:
        return False
    here, there = log.started.environment, other.started.environment
    same = all(here.get(name) == there.get(name) for name in (*FINGERPRINT, "host", "code"))
    budget = log.trial["workload"].get("budget")
    seconds = isinstance(budget, dict) and budget.get("unit") == "seconds"
    return same and here.get("device") == "cpu" and not seconds


def _difference(log: TrialLog, other: TrialLog) -> str:
    for mine, theirs in zip(log.evaluations, other.evaluations, strict=False):
        if _computed(mine) != _computed(theirs):
            return f"at step {mine.step} (training loss {mine.train_loss!r} and {theirs.train_loss!r})"
    if log.finished is None or other.finished is None:
        return ""
    if log.finished.status != other.finished.status:
        return f"in how they ended: {log.finished.status} and {other.finished.status}"
    if _plain(log.finished.final) != _plain(other.finished.final):
        return "in their final metrics"
    return ""


def _computed(event: Evaluated) -> tuple[Any, ...]:
    return event.step, repr(event.train_loss), _plain(event.metrics)


def _plain(metrics: dict[str, dict[str, float]]) -> str:
    return repr({split: dict(sorted(of.items())) for split, of in sorted(metrics.items())})
