"""Writes `report.md` and `report.csv` between trials, while nothing is timed."""

from __future__ import annotations

import contextlib
from time import monotonic

from optbench.events import Event, Finished
from optbench.report import save
from optbench.runner.observer import Listener
from optbench.store import StoredSuite, SuiteFolder
from optbench.suite.types import Trial

_MAX_SHARE = 0.02  # of the run's time
_MIN_INTERVAL_SECONDS = 20.0
_SECONDS_PER_TRIAL = 0.0005  # estimate for the first report


def with_intermediate_reports(
    folder: SuiteFolder, stored: StoredSuite, listen: Listener, planned: int = 0
) -> Listener:
    """Return `listen`, extended: after a trial has ended it writes both reports, unless they were written recently.

    `planned` is the number of trials of the suite: the first report of a large one is due later.

    Errors are ignored here: the reports are written again at the end of the run, which reports errors.
    """
    next_at = monotonic() + max(_MIN_INTERVAL_SECONDS, planned * _SECONDS_PER_TRIAL / _MAX_SHARE)

    def listen_and_report(trial: Trial, event: Event) -> None:
        nonlocal next_at
        listen(trial, event)
        if isinstance(event, Finished) and monotonic() >= next_at:
            start = monotonic()
            with contextlib.suppress(Exception):
                save(stored.read(), folder.path)
            end = monotonic()
            next_at = end + max(_MIN_INTERVAL_SECONDS, (end - start) / _MAX_SHARE)

    return listen_and_report
