"""Follow a run of another process by reading its files repeatedly. Writes nothing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optbench.analysis.rows import TableRow, all_rows
from optbench.cli.live.board import Board
from optbench.errors import OptbenchError
from optbench.events import Evaluated, Finished
from optbench.store import Results, SuiteResults, TrialLog, read
from optbench.store.holder import Holder, holder
from optbench.store.records import NewerFormat
from optbench.suite.types import Trial
from optbench.suite_folders import ARCHIVE, has_results

_SLACK_SECONDS = 2.0


@dataclass(frozen=True)
class Snapshot:
    """State of the results at one moment. `logs` are by trial id; `board` is None until a trial is planned."""

    folder: Path
    held: Holder | None
    board: Board | None = None
    trials: tuple[Trial, ...] = ()
    logs: dict[str, TrialLog] = field(default_factory=dict)
    name: str = ""
    command: str = ""

    @property
    def is_running(self) -> bool:
        """Whether a run holds the lock and is not known to be dead. The process of another machine cannot be checked."""
        return self.held is not None and self.held.is_alive is not False

    @property
    def is_complete(self) -> bool:
        return bool(self.trials) and all(
            trial.id in self.logs and self.logs[trial.id].has_ended(trial.rung) for trial in self.trials
        )

    @property
    def environment(self) -> dict[str, Any]:
        begun = [log.started.environment for log in self.logs.values() if log.started is not None]
        return begun[-1] if begun else {}


class Follower:
    """Reads a suite's folder, or in a folder of several results the one that is running or was written last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder: Path | None = None
        self._seen: object = None
        self._suite: SuiteResults | None = None

    def snapshot(self) -> Snapshot:
        """Return the present state. Raises `OptbenchError` for results of a newer optbench."""
        folder = self._folder = self._chosen()
        if folder is None:
            return Snapshot(self._path, None)
        held = holder(folder)  # before the records: what is complete and not held any more is over
        signs = _signs(folder)
        if (folder, signs) != self._seen:
            self._suite = _read(folder)
            self._seen = (folder, signs)
        if self._suite is None:
            return Snapshot(folder, held)
        return _snapshot(self._suite, folder, held)

    def _chosen(self) -> Path | None:
        if self._folder is not None and holder(self._folder) is not None:
            return self._folder
        there = list(_suite_folders(self._path))
        held = [
            (found.since, path) for path in there if (found := holder(path)) and found.is_alive is not False
        ]
        if held:
            return max(held)[1]
        return self._folder or max(there, key=_written, default=None)


def new_events(before: Snapshot | None, now: Snapshot) -> Iterator[tuple[Trial, Evaluated | Finished]]:
    """Yield what is new since `before`: per trial its last evaluation, then its end."""
    for trial in now.trials:
        log = now.logs.get(trial.id)
        if log is None:
            continue
        old = before.logs.get(trial.id) if before is not None else None
        if log.evaluations and (old is None or len(log.evaluations) > len(old.evaluations)):
            yield trial, log.evaluations[-1]
        if log.finished is not None and (old is None or old.finished != log.finished):
            yield trial, log.finished


def _suite_folders(path: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        for folder in (path, *sorted(path.iterdir())):
            if has_results(folder) or (folder / "run.lock").is_file():
                yield folder


def _written(folder: Path) -> float:
    with contextlib.suppress(OSError):
        return (folder / "plan.json").stat().st_mtime
    return 0.0


def _signs(folder: Path) -> object:
    """Return a value that changes when a record is written or a file is created or moved."""
    found = []
    for path in (folder / "plan.json", folder / ARCHIVE, *(folder / "trials").glob("*.jsonl")):
        with contextlib.suppress(OSError):
            state = path.stat()
            found.append((path.name, state.st_ino, state.st_size, state.st_mtime_ns))
    return sorted(found)


def _read(folder: Path) -> SuiteResults | None:
    """Return the results; None if there are none yet, or a file was moved during the read (the next snapshot retries)."""
    try:
        [suite] = read([folder]).suites
    except NewerFormat:
        raise
    except OptbenchError:
        return None
    return suite


def _snapshot(suite: SuiteResults, folder: Path, held: Holder | None) -> Snapshot:
    trials: list[Trial] = []
    logs: dict[str, TrialLog] = {}
    rows = all_rows(Results((suite,)))
    for row in rows:
        by_seed = {log.trial["seed"]: log for log in row.logs}
        for seed in dict.fromkeys((*row.seeds, *by_seed)):
            trial = _with_seed(row, seed)
            trials.append(trial)
            if seed in by_seed:
                logs[trial.id] = by_seed[seed]
    if not trials:
        return Snapshot(folder, held)
    pending = [trial for trial in trials if trial.id not in logs or not logs[trial.id].has_ended(trial.rung)]
    first = {row.trial.workload.metrics[0]: row for row in rows}
    fractions = [metric for metric, row in first.items() if row.facts(metric).is_fraction]
    board = Board.of(trials, pending, fractions=fractions)
    board.began = None
    snapshot = Snapshot(
        folder, held, board, tuple(trials), logs, suite.name, suite.plan.command if suite.plan else ""
    )
    for trial in sorted(trials, key=lambda trial: _modified(logs.get(trial.id))):
        if trial.id in logs:
            board.replay(trial, logs[trial.id])
    if snapshot.is_running and held is not None:
        board.began = time.monotonic() - max(0.0, time.time() - held.since)
        for trial in _running_trials(pending, logs, held.since):
            board.mark_running(trial, max(0.0, time.time() - _modified(logs[trial.id])))
    return snapshot


def _with_seed(row: TableRow, seed: int) -> Trial:
    trial = row.trial.model_copy(update={"seed": seed})
    trial.__dict__["config_id"] = row.config_id  # as stored, whatever this version would make of it
    return trial


def _modified(log: TrialLog | None) -> float:
    if log is not None:
        with contextlib.suppress(OSError):
            return log.path.stat().st_mtime
    return 0.0


def _running_trials(pending: list[Trial], logs: dict[str, TrialLog], since: float) -> list[Trial]:
    """Return the pending trials written since the run began; of those that run exclusively only the last."""
    begun = [t for t in pending if t.id in logs and _modified(logs[t.id]) >= since - _SLACK_SECONDS]
    alone = [trial for trial in begun if trial.is_alone]
    last = max(alone, key=lambda trial: _modified(logs[trial.id]), default=None)
    return [trial for trial in begun if not trial.is_alone or trial is last]
