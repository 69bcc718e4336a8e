"""A suite's `report.md` and `report.csv`, kept up to date while its trials run: between trials, when nothing is timed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from time import monotonic

from optbench.events import Event, Finished
from optbench.store import SuiteFolder
from optbench.suite.types import Trial

#: writing takes at most so large a part of a run
_SHARE = 0.02
_LEAST_SECONDS = 20.0


def kept_up_to_date(
    folder: SuiteFolder, listen: Callable[[Trial, Event], None]
) -> Callable[[Trial, Event], None]:
    """A listener that also writes them when a trial has ended, unless they have just been written.

    What goes wrong is told of at the end of the run, when they are written again: no report is worth a run.
    """
    next_at = monotonic() + _LEAST_SECONDS

    def told(trial: Trial, event: Event) -> None:
        nonlocal next_at
        listen(trial, event)
        if isinstance(event, Finished) and monotonic() >= next_at:
            from optbench.report import save
            from optbench.store import read

            began = monotonic()
            with contextlib.suppress(Exception):
                save(read([folder.path]), folder.path)
            now = monotonic()
            next_at = now + max(_LEAST_SECONDS, (now - began) / _SHARE)

    return told
