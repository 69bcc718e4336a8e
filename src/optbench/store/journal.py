"""The file of a trial: a header line, then one line per record, synced to disk before `append` returns."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optbench.errors import OptbenchError, Problem
from optbench.events import Evaluated, Event, Finished, Progressed, Resumed, Started
from optbench.store.archive import read_record
from optbench.store.files import explained, write_whole
from optbench.store.records import (
    FORMAT,
    Corrupt,
    check_format,
    event_line,
    fitting,
    from_json,
    to_events,
    to_line,
)
from optbench.suite.tuning import is_past_rung
from optbench.suite.types import Trial
from optbench.version import __version__

_TRIAL_FIELDS = {"workload_name": str, "workload": dict, "label": str, "entry": dict, "seed": int}


class TrialFile:
    """A trial's file, open for writing. One writer at a time: hold the suite folder's lock.

    `torn_bytes`: length of an unfinished last line (of a process killed while writing) that was cut off.
    """

    def __init__(self, path: Path, header: dict[str, Any], content: bytes, torn_bytes: int) -> None:
        self.path = path
        self.header = header
        self.torn_bytes = torn_bytes
        self.started: Started | None = None
        self.finished: Finished | None = None
        self.last_step: int | None = None
        """The step of the last stored evaluation."""
        try:
            for event in to_events(content.split(b"\n")[1:-1]):
                self._note(event)
        except Corrupt as error:
            raise OptbenchError(_damaged(path, error.line + 2, error)) from None
        self._size = len(content)
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            if torn_bytes:
                os.ftruncate(self._descriptor, self._size)
                os.fsync(self._descriptor)
        except OSError as error:
            raise explained(error, path) from error

    @classmethod
    def create(cls, path: Path, trial: Trial, attempt: int = 1) -> TrialFile:
        """Create the file. Raises `OptbenchError` if it exists or cannot be written."""
        if path.exists():
            raise OptbenchError("the file of this trial already exists: open it instead", file=str(path))
        write_whole(path, _header_line(trial, attempt))
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> TrialFile:
        """Open an existing file and truncate an incomplete last line. Raises `OptbenchError` if damaged or newer."""
        try:
            content = read_record(path)
        except OSError as error:
            raise OptbenchError(f"cannot read: {error.strerror}", file=str(path)) from error
        whole = content[: content.rfind(b"\n") + 1]
        try:
            header = read_header(whole.split(b"\n", 1)[0], str(path))
        except Corrupt as error:
            raise OptbenchError(_damaged(path, 1, error)) from None
        return cls(path, header, whole, len(content) - len(whole))

    @property
    def is_complete(self) -> bool:
        """Whether the trial ended, neither interrupted nor failed because of the infrastructure."""
        return is_final(self.finished)

    def continued(self, rung: float | None) -> TrialFile:
        """Return this file. A pause before the rung of the planned trial, or without one, is no longer its end."""
        if not has_ended(self.started, self.finished, rung) and self.is_complete:
            self.finished = None
        return self

    def append(self, event: Event) -> bool:
        """Write one event and sync it to disk. False if there was nothing to write.

        Not written are signs of life and evaluations on file already (they repeat after a resume). A second
        start is recorded as a resumption at step 0. Raises `OptbenchError` if the file cannot be written (it then
        holds whole lines only), `ValueError` if the trial is complete.
        """
        if self.is_complete:
            raise ValueError(
                f"trial {self.header['id']} is complete: {event.kind} cannot follow {self.finished}"
            )
        if isinstance(event, Progressed):
            return False
        if isinstance(event, Evaluated) and self.last_step is not None and event.step <= self.last_step:
            return False
        if isinstance(event, Started) and self.started is not None:
            event = Resumed(step=0, environment=event.environment)
        self._write(event_line(event).encode("utf-8", "backslashreplace"))
        self._note(event)
        return True

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> TrialFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _note(self, event: Event) -> None:
        if isinstance(event, Evaluated):
            self.last_step = event.step
        elif isinstance(event, Started):
            self.started = event
        elif isinstance(event, Finished):
            self.finished = event

    def _write(self, line: bytes) -> None:
        try:
            written = 0
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
            os.fsync(self._descriptor)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._size)  # half a line must not meet the next one
            raise explained(error, self.path, len(line)) from error
        self._size += len(line)


def whole_text(trial: Trial, events: Iterable[Event]) -> str:
    """Return the content of a trial's file from all its events, as for an imported log."""
    return "".join([_header_line(trial), *map(event_line, events)])


def is_final(finished: Finished | None) -> bool:
    return finished is not None and finished.status != "interrupted" and finished.at_fault != "infrastructure"


def has_ended(started: Started | None, finished: Finished | None, rung: float | None) -> bool:
    """Return whether a trial with these records is to be trained no further.

    `rung`: of the planned trial. A pause ends it if that is at or past this rung, and never a whole trial.
    """
    if finished is None or not is_final(finished):
        return False
    if finished.status != "paused":
        return True
    steps = started.steps if started is not None else None
    return rung is not None and steps is not None and is_past_rung(finished.step, rung, steps)


def read_header(line: bytes, file: str) -> dict[str, Any]:
    """Return the checked first line. Raises `Corrupt`, or `OptbenchError` if a newer optbench wrote it."""
    header = from_json(line)
    if not isinstance(header, dict) or header.get("record") != "trial":
        raise Corrupt("expected a 'trial' record first: this was not written by optbench")
    check_format(header, file)
    trial = header.get("trial")
    known = isinstance(trial, dict) and all(
        isinstance(trial.get(name), kind) for name, kind in _TRIAL_FIELDS.items()
    )
    attempt = header.get("attempt", 1)
    known = known and type(attempt) is int and attempt >= 1
    if not known or not isinstance(header.get("id"), str) or not isinstance(header.get("config_id"), str):
        raise Corrupt("'trial' record with a missing or unreadable field")
    return fitting(header)


def _header_line(trial: Trial, attempt: int = 1) -> str:
    header: dict[str, Any] = {
        "record": "trial",
        "format": FORMAT,
        "optbench": __version__,
        "id": trial.id,
        "config_id": trial.config_id,
        **({"attempt": attempt} if attempt > 1 else {}),
        "trial": trial.model_dump(mode="json", exclude={"folder"}),
    }
    return to_line(header)


def _damaged(path: Path, line: int, error: ValueError) -> Problem:
    return Problem(
        f"damaged record ({error}): move this file away and run again; the trial then starts from scratch",
        file=str(path),
        line=line,
    )
