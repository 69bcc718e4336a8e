"""Parse the file of a trial."""

from __future__ import annotations

import marshal
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from msgspec import structs

from optbench.errors import OptbenchError, Problem
from optbench.events import Evaluated, Finished, Resumed, Started
from optbench.store.archive import read_record
from optbench.store.evaluations import Evaluations
from optbench.store.journal import has_ended, is_final, read_header
from optbench.store.records import Corrupt, to_events

_NONE = Evaluations.of(())
_TEXTS = ("initial_weights", "precision", "memory_format", "data_checksum", "data_notes")
_OWN = ("started_at",)  # facts of the environment that differ between trials


@dataclass(frozen=True, slots=True)
class TrialLog:
    """One trial's file. `row`: the resolved trial as plain data, which the logs of a row share, with the seed of any of them."""

    id: str
    config_id: str
    row: dict[str, Any] = field(repr=False)
    seed: int
    optbench: str  # version that wrote it
    folder: Path
    name: str  # of the file
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
    def path(self) -> Path:
        return self.folder / self.name

    @property
    def trial(self) -> dict[str, Any]:
        """The resolved trial as plain data."""
        return self.row | {"seed": self.seed}

    @property
    def seconds_count(self) -> bool:
        """Whether its seconds are those of one uninterrupted run that shared its device with no other trial."""
        return not self.timings_interrupted and self.row.get("timed", True)

    @property
    def was_alone(self) -> bool:
        """Whether the trial ran exclusively on its device (`Trial.is_alone`)."""
        return bool(self.row.get("timed", True)) and not self.row.get("point")

    @property
    def is_complete(self) -> bool:
        return is_final(self.finished)

    def has_ended(self, rung: float | None) -> bool:
        """Return whether a planned trial is complete. `rung`: where it may be paused, None for a whole trial."""
        return has_ended(self.started, self.finished, rung)

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
        header["trial"]["seed"],
        str(header.get("optbench", "")),
        path.parent,
        path.name,
        attempt=header.get("attempt", 1),
    )
    return _with_events(log, lines[1:])


def shared(log: TrialLog, known: dict[Any, Any]) -> TrialLog:
    """Return the log with what it has in common with others in memory once; `known` collects these parts."""

    def one(value: Any) -> Any:
        if isinstance(value, (dict, list)):
            return known.setdefault(marshal.dumps(value, 2), value)
        return known.setdefault(value, value) if isinstance(value, str) else value

    started = log.started
    if started is not None:
        environment = {
            name: value if name in _OWN else one(value) for name, value in started.environment.items()
        }
        started = structs.replace(
            started,
            environment=environment,
            hyperparameters=one(started.hyperparameters),
            splits=one(started.splits),
            **{name: one(getattr(started, name)) for name in _TEXTS},
        )
    return replace(
        log,
        config_id=one(log.config_id),
        row=known.setdefault(log.config_id.encode() + marshal.dumps(log.row | {"seed": None}, 2), log.row),
        folder=known.setdefault(log.folder, log.folder),
        optbench=one(log.optbench),
        started=started,
        evaluations=log.evaluations.shared(known),
    )


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
            finished = None if finished is not None and finished.status == "paused" else finished
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
