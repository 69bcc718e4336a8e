"""Timed trials that other work disturbed, run again."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optbench.cli.job import Job, Options
from optbench.cli.signals import say, undisturbed

if TYPE_CHECKING:
    from optbench.executor.local import Summary
    from optbench.executor.process import StopRequest
    from optbench.executor.worker import Settings
    from optbench.store import TrialLog

_HOST = {"host": platform.node()}


def run_again(job: Job, options: Options, settings: Settings, stop: StopRequest, summary: Summary) -> None:
    """Timed trials that other work disturbed, of this run or an earlier one on this very machine, once more and alone: until
    one attempt at each was undisturbed, `--reruns` are spent, or a whole round has come to nothing because the other work goes
    on. Of how they end only a stop goes into the summary: the trial has its first attempt."""
    from optbench.cli.live.display import display
    from optbench.events import FINGERPRINT
    from optbench.executor.local import prepare, run
    from optbench.store import read
    from optbench.store.attempts import to_run_again

    wanted = {trial.id: trial for trial in job.wanted if not trial.point}
    here: dict[str, Any] = {}
    before: set[str] = set()
    for _ in range(options.reruns):
        if stop.asked:
            return
        logs = [log for log in read([job.folder.path]).suites[0].logs if log.id in wanted and log.started]
        again = [log for log in to_run_again(logs, options.reruns) if _at_home(log, ("host",), _HOST)]
        if again and not here:
            here = prepare([wanted[log.id] for log in again], settings, say, stop) or {}
        again = [log for log in again if _at_home(log, FINGERPRINT, here)]
        if not again:
            return
        one, ids = len(again) == 1, {log.id for log in again}
        if ids == before:
            say(f"Other work goes on, so {len(again)} trial{'s' * (not one)} stay{'s' * one} disturbed")
            return
        before = ids
        trials = [trial for trial in job.wanted if trial.id in ids]
        say(
            f"Other work disturbed {len(again)} trial{'s' * (not one)}: {'it is' if one else 'they are'} run again"
        )
        with display(
            job.loaded, job.wanted, trials, here, job.folder, stop=stop, at_once=1, as_json=options.json
        ) as listen:
            listener = listen if options.json else undisturbed(listen)
            attempts = {log.id: log.attempts + 1 for log in again}
            ended = run(trials, job.folder, settings, listener, stop, attempts)
        summary.left += ended.left + ended.ended.get("interrupted", 0)


def _at_home(log: TrialLog, names: Sequence[str], here: Mapping[str, object]) -> bool:
    """Whether the trial ran where these facts of its environment are those of `here`."""
    there = log.started.environment if log.started else {}
    return all(there.get(name) == here.get(name) for name in names)
