"""Parse the file of a trial."""

from __future__ import annotations

import marshal
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from optbench.errors import OptbenchError, Problem
from optbench.events import Evaluated, Finished, Resumed, Started
from optbench.store.archive import read_record
from optbench.store.evaluations import Evaluations
from optbench.store.journal import is_final, read_header
from optbench.store.records import Corrupt, to_events

_NONE = Evaluations.of(())


@dataclass(frozen=True)
class TrialLog:
    """One trial's file. `trial` is the resolved trial as plain data."""

    id: str
    config_id: str
    trial: dict[str, Any]
    optbench: str  # version that wrote it
    path: Path
    started: Started | None = None
    evaluations: Evaluations = _NONE
    finished: Finished | None = None  # the last one
    resumed: tuple[Resumed, ...] = ()
    timings_interrupted: bool = False
    """Whether the trial was resumed, so that its seconds are not those of one uninterrupted run."""
    attempt: int = 1
    attempts: int = 1  # complete ones of this trial; this and what follows as `settled` finds it
    disturbed: bool = False  # by other work, and so were all other attempts
    others: tuple[TrialLog, ...] = field(default=(), repr=False)

    @property
    def seconds_count(self) -> bool:
        """Whether its seconds are those of one uninterrupted run that shared its device with no other trial."""
        return not self.timings_interrupted and self.trial.get("timed", True)

    @property
    def is_complete(self) -> bool:
        return is_final(self.finished)

    @property
    def gradient_evaluations(self) -> Sequence[int | None]:
        """The count at each evaluation.

        Older records have the total alone: where it equals the number of steps, every step used one gradient. Otherwise None.
        """
        recorded: Sequence[int | None] = self.evaluations.column("gradient_evaluations")
        end = self.finished
        if None not in recorded or end is None or end.gradient_evaluations != end.step:
            return recorded
        steps: Sequence[int] = self.evaluations.column("step")
        if recorded.count(None) == len(recorded):
            return steps
        return [step if count is None else count for step, count in zip(steps, recorded, strict=True)]


def read_log(path: Path) -> TrialLog:
    """Return the parsed file. An incomplete last line is skipped. Raises `OptbenchError` if it is damaged or newer."""
    try:
        lines = read_record(path).split(b"\n")
    except OSError as error:
        raise OptbenchError(f"cannot read: {error.strerror}", file=str(path)) from error
    del lines[-1]  # empty, or torn by a kill
    try:
        header = read_header(lines[0] if lines else b"", str(path))
    except Corrupt as error:
        raise OptbenchError(str(error), file=str(path), line=1) from None
    log = TrialLog(
        header["id"],
        header["config_id"],
        header["trial"],
        str(header.get("optbench", "")),
        path,
        attempt=header.get("attempt", 1),
    )
    return _with_events(log, lines[1:])


def shared(log: TrialLog, known: dict[bytes, Any]) -> TrialLog:
    """Return the log with parts of its trial shared with other logs, to save memory; `known` collects the parts."""
    trial = {
        name: known.setdefault(marshal.dumps(value), value) if isinstance(value, dict) else value
        for name, value in log.trial.items()
    }
    return replace(log, trial=trial)


def _with_events(log: TrialLog, lines: list[bytes]) -> TrialLog:
    started: Started | None = None
    finished: Finished | None = None
    evaluations: list[Evaluated] = []
    resumed: list[Resumed] = []
    interrupted = False
    try:
        events = to_events(lines)
    except Corrupt as error:
        problem = Problem(f"damaged record ({error})", file=str(log.path), line=error.line + 2)
        raise OptbenchError(problem) from None
    for event in events:
        if isinstance(event, Evaluated):
            if not evaluations or event.step > evaluations[-1].step:  # not repeated after a resume
                evaluations.append(event)
        elif isinstance(event, Resumed):
            resumed.append(event)
            interrupted |= event.step > 0 or bool(evaluations)
        elif isinstance(event, Finished):
            finished = event
        else:
            started = started or event
    return replace(
        log,
        started=started,
        evaluations=Evaluations.of(evaluations),
        finished=finished,
        resumed=tuple(resumed),
        timings_interrupted=interrupted,
    )
