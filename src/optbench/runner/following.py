"""Follow trials that workers in a shared folder run: pass their new records to a listener, until none is left or no worker is active."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic, sleep
from typing import TYPE_CHECKING

from optbench.events import Finished, Started, Status
from optbench.runner.observer import Listener
from optbench.store import SuiteFolder
from optbench.store.journal import has_ended
from optbench.store.records import from_json, to_event
from optbench.suite.types import Trial

if TYPE_CHECKING:
    from optbench.executor.api import StopRequest

_POLL_SECONDS = 1.0


class Followed:
    """The file of a trial, read by offset while another process appends to it."""

    def __init__(self, folder: SuiteFolder, trial: Trial) -> None:
        self._path, self.trial = folder.trial_path(trial), trial
        self._offset = 0
        self.started: Started | None = None
        self.end: Finished | None = None
        self.read(lambda trial, event: None)  # what is stored already has been shown

    @property
    def is_complete(self) -> bool:
        return has_ended(self.started, self.end, self.trial.rung)

    def read(self, listen: Listener) -> None:
        """Pass the records since the last call to the listener. Incomplete lines are left for the next call."""
        with suppress(OSError), self._path.open("rb") as file:
            if file.seek(0, os.SEEK_END) < self._offset:  # the trial started again in a new file
                self._offset = 0
            file.seek(self._offset)
            content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            first = self._offset == 0
            self._offset += len(whole)
            for line in whole.splitlines()[1 if first else 0 :]:
                with suppress(ValueError):
                    event = to_event(from_json(line))
                    self.started = event if isinstance(event, Started) else self.started
                    self.end = event if isinstance(event, Finished) else self.end
                    listen(self.trial, event)


def follow(
    folder: SuiteFolder,
    trials: Sequence[Trial],
    listen: Listener,
    stop: StopRequest,
    is_worked_on: Callable[[], bool],
) -> dict[Status, int]:
    """Follow the trials until all are complete, a stop is requested, or `is_worked_on` returns False. Return counts by status.

    Trials without a final record are counted as interrupted.
    """
    files = [Followed(folder, trial) for trial in trials]
    worked_on = True
    while True:
        for file in files:
            if not file.is_complete:
                file.read(listen)
        if stop.is_requested or not worked_on or all(file.is_complete for file in files):
            break
        worked_on = is_worked_on()  # records of workers that ended meanwhile are read once more
        until = monotonic() + _POLL_SECONDS
        while worked_on and monotonic() < until and not stop.is_requested:
            sleep(0.05)
    statuses: dict[Status, int] = {}
    for file in files:
        status: Status = file.end.status if file.end is not None and file.is_complete else "interrupted"
        statuses[status] = statuses.get(status, 0) + 1
    return statuses
