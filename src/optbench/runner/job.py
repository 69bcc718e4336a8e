"""Suites to jobs: checked, planned, and compared with the stored results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from optbench.catalog.data_root import data_root
from optbench.catalog.data_sets import identified_by_data
from optbench.catalog.stackable import why_plain
from optbench.errors import OptbenchError, Problem, nearest
from optbench.runner.options import RunOptions
from optbench.store import StoredSuite, SuiteFolder
from optbench.store.archive import has_record, has_records
from optbench.store.log import read_log
from optbench.suite.load import Loaded
from optbench.suite.plan import plan
from optbench.suite.types import Trial


@dataclass(frozen=True)
class Job:
    """One suite, ready to run: all its planned trials, and the requested ones. `stored` reads its folder."""

    loaded: Loaded
    planned: tuple[Trial, ...]
    wanted: tuple[Trial, ...]
    folder: SuiteFolder
    stored: StoredSuite


def create_job(loaded: Loaded, options: RunOptions, stored: StoredSuite | None = None) -> Job:
    """Plan the suite. `stored` is the reader of an earlier job of this suite.

    Raises `OptbenchError` if `options.only` names an entry that the suite does not have.
    """
    labels = list(loaded.suite.optimizers)
    unknown = [label for label in options.only if label not in labels]
    if unknown:
        raise OptbenchError(
            *(
                Problem(f"no optimizer '{label}' in {loaded.path}; {nearest(label, labels)}", where="--only")
                for label in unknown
            )
        )
    folder = SuiteFolder.of(options.results, loaded.name)
    stored = stored or StoredSuite(folder.path)
    planned = _plan(loaded, folder, stored, options.data)
    wanted = tuple(trial for trial in planned if not options.only or trial.label in options.only)
    return Job(loaded, planned, wanted, folder, stored)


def check_distinct_folders(jobs: Sequence[Job]) -> None:
    """Raise `OptbenchError` if two suites would write to the same folder."""
    seen: dict[Path, Path] = {}
    for job in jobs:
        other = seen.setdefault(job.folder.path, job.loaded.path)
        if other != job.loaded.path:
            message = (
                f"has the same name as {other}, so both would write to {job.folder.path}. "
                "Rename one, or run them separately with different --results folders"
            )
            raise OptbenchError(message, file=str(job.loaded.path))


def pending_trials(job: Job, message: Callable[[str], None] | None) -> list[Trial]:
    """Return the trials that are not complete, in running order, and remove checkpoints that are not needed.

    `message` reports repaired files; None repairs none, because workers of a shared folder may be writing them. Archived records are not
    changed: the run unpacks the archive if any trial is pending.
    """
    logs = {log.id: log for log in job.stored.read().suites[0].logs if log.attempt == 1}
    checkpoints = {path.stem for path in job.folder.checkpoints.glob("*.pt")}
    pending = []
    selected = {  # studies whose trials to continue are known: the others are pruned
        (trial.workload_name, trial.label, trial.study) for trial in job.planned if trial.rung is None
    }
    for trial in job.wanted:
        log = logs.get(trial.id)
        if (log is None or not log.has_ended(trial.rung)) and (
            message is None or not _has_ended(job, trial, message)
        ):
            pending.append(trial)
        elif trial.id in checkpoints and (
            trial.rung is None or (trial.workload_name, trial.label, trial.study) in selected
        ):
            job.folder.checkpoint_path(trial).unlink(missing_ok=True)
    return pending


def _has_ended(job: Job, trial: Trial, message: Callable[[str], None]) -> bool:
    """Return whether the trial has ended, after a repair of its file."""
    path = job.folder.trial_path(trial)
    there = path.exists()
    if not there and has_record(path):
        return read_log(path).has_ended(trial.rung)
    begun = job.folder.reopen_trial(trial)
    if begun is None:
        if there:
            message(f"note: {path}: its first line is incomplete: moved to superseded/, the trial restarts")
        return False
    with begun as file:
        if file.torn_bytes:
            message(f"note: {path}: removed {file.torn_bytes} bytes of an incomplete record")
        return file.is_complete


def _plan(loaded: Loaded, folder: SuiteFolder, stored: StoredSuite, data: str | None) -> tuple[Trial, ...]:
    """Return the suite's trials, including those that follow from the stored results of tuning and sweeps."""

    def identified(trials: Sequence[Trial]) -> tuple[Trial, ...]:
        return identified_by_data(trials, data_root(data))

    suite = loaded.suite
    if not (suite.tuning or suite.sensitivity) or not has_records(folder.path):
        return identified(plan(loaded, None, why_plain))
    from optbench.runner.adaptive_plan import adaptive_plan

    return adaptive_plan(loaded, stored, identified)
