"""Reruns of timed trials that other load disturbed."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optbench.events import FINGERPRINT
from optbench.runner.job import Job
from optbench.runner.observer import Observer, Round
from optbench.runner.options import RunOptions
from optbench.runner.results_folder import unpack
from optbench.store import TrialLog
from optbench.store.attempts import to_run_again

if TYPE_CHECKING:
    from optbench.executor.api import Slot
    from optbench.executor.dispatch import Dispatcher, Summary

_HOST = {"host": platform.node()}


def rerun_disturbed(
    job: Job,
    options: RunOptions,
    dispatcher: Dispatcher,
    observer: Observer,
    summary: Summary,
) -> None:
    """Rerun timed trials that other load disturbed, in this run or in an earlier one on this machine.

    Repeats until each has an undisturbed attempt, `options.reruns` is reached, or a whole round had no effect because the other
    load continues. Only trials that a stop left unfinished are added to `summary`: the others have their first attempt.
    """
    timed = {trial.id: trial for trial in job.wanted if trial.is_alone}
    slots: Sequence[Slot] = ()
    environment: dict[str, Any] = {}
    previous: set[str] = set()
    stop = dispatcher.stop
    for _ in range(options.reruns):
        if stop.is_requested:
            return
        logs = [log for log in job.stored.read().suites[0].logs if log.id in timed and log.started]
        disturbed = [log for log in to_run_again(logs, options.reruns) if _matches(log, ("host",), _HOST)]
        if disturbed and not slots:
            trials = [timed[log.id] for log in disturbed]
            slots = dispatcher.executor.open(trials, observer.message, stop)
            environment = slots[0].environment if slots else {}
        disturbed = [log for log in disturbed if _matches(log, FINGERPRINT, environment)]
        if not disturbed:
            return
        ids = {log.id for log in disturbed}
        n = f"{len(ids)} trial{'s' * (len(ids) != 1)}"
        if ids == previous:
            observer.message(f"Other load continues: {n} remain{'s' * (len(ids) == 1)} disturbed")
            return
        previous = ids
        unpack(job.folder, observer)
        observer.message(f"Rerunning {n} disturbed by other load")
        trials = [trial for trial in job.wanted if trial.id in ids]
        attempts = {log.id: log.attempts + 1 for log in disturbed}
        with observer.round(Round(job, trials, environment, stop)) as listen:
            ended = dispatcher.run_timed(trials, slots, listen, attempts)
        summary.left += ended.left + ended.ended.get("interrupted", 0)


def _matches(log: TrialLog, names: Sequence[str], environment: Mapping[str, object]) -> bool:
    """Return whether the trial ran in an environment with these values."""
    recorded = log.started.environment if log.started else {}
    return all(recorded.get(name) == environment.get(name) for name in names)
