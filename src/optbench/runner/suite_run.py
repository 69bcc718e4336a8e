"""Runs one job: rounds of trials until nothing is pending, then reruns of disturbed trials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from optbench.errors import OptbenchError, Problem
from optbench.machine import cores
from optbench.runner.intermediate_reports import with_intermediate_reports
from optbench.runner.job import Job, create_job, metric_directions, metric_ranges, pending_trials
from optbench.runner.observer import Observer
from optbench.runner.options import RunOptions
from optbench.runner.reruns import rerun_disturbed
from optbench.runner.results_folder import locked_folder

if TYPE_CHECKING:
    from optbench.executor.api import Executor, Settings, Slot, StopRequest
    from optbench.executor.dispatch import Dispatcher, Summary
    from optbench.store import Results


@dataclass(frozen=True)
class JobEnd:
    """How the trials of one job ended. `results` is the store after the run, None if a stop came before anything started."""

    summary: Summary
    results: Results | None

    @property
    def trials_left(self) -> int:
        """Trials that a stop left unfinished."""
        return self.summary.left + self.summary.ended.get("interrupted", 0)


def run_job(job: Job, options: RunOptions, stop: StopRequest, observer: Observer) -> JobEnd:
    """Run the job's pending trials.

    Raises `OptbenchError` if the data, the device or the results folder cannot be used, or if stored trials come from another
    environment. Saved results are intact in each case.
    """
    from optbench.executor.api import Settings
    from optbench.executor.dispatch import Dispatcher, Summary
    from optbench.store import read

    settings = Settings(options.threads, options.command, options.allocator, options.checkpoint_seconds)
    summary = Summary()
    with locked_folder(job.folder), _executor(job, options, settings) as executor:
        dispatcher = Dispatcher(executor, job.folder, settings, stop, options.stall_seconds)
        if options.fresh:
            for trial in job.wanted:
                job.folder.set_aside(trial)
        while True:
            if not _run_pending(job, options, dispatcher, observer, summary):
                return JobEnd(summary, None)
            planned = {trial.id for trial in job.planned}
            job = job if stop.asked else create_job(job.loaded, options)
            new = [trial for trial in job.planned if trial.id not in planned]
            if not new:
                break
            observer.message(
                "Tuning is complete: training the selected settings on the seeds of the suite"
                if any(not trial.point for trial in new)
                else "The best point of a sweep is at the edge of its grid: extending the grid for all entries"
            )
        rerun_disturbed(job, options, dispatcher, observer, summary)
    return JobEnd(summary, read([job.folder.path]))


@contextmanager
def _executor(job: Job, options: RunOptions, settings: Settings) -> Iterator[Executor]:
    """Return the executor of the run. Closing it ends the workers that still run."""
    from optbench.catalog.data_root import data_root
    from optbench.executor.local import LocalExecutor

    with LocalExecutor(job.folder.path, settings, data_root(options.data), options.device) as executor:
        yield executor


def _run_pending(
    job: Job, options: RunOptions, dispatcher: Dispatcher, observer: Observer, summary: Summary
) -> bool:
    """Run the trials that are not complete and add them to `summary`. Return False if a stop came before any of them started."""
    pending = pending_trials(job, observer.message)
    slots = dispatcher.executor.open(pending, observer.message, dispatcher.stop) if pending else ()
    if pending and not slots:
        summary.left = len(pending)
        return False
    if not pending and not summary.ended:
        observer.message(_already_measured(job))
    environment = slots[0].environment if slots else {}
    if pending and not options.allow_mixed:
        _refuse_to_mix(job, environment)
    _write_plan(job, options)
    timed = [trial for trial in pending if not trial.point]
    sweep_slots = _sweep_slots(slots, options)
    with observer.round(
        job, pending, environment, parallel=max(1, len(sweep_slots)), stop=dispatcher.stop
    ) as listen:
        listener = with_intermediate_reports(job.folder, listen)
        summary.add(dispatcher.run_timed(timed, slots, listener))
        if swept := [trial for trial in pending if trial.point]:
            summary.add(dispatcher.run_sweep(swept, sweep_slots, listener))
    return True


def _sweep_slots(slots: Sequence[Slot], options: RunOptions) -> list[Slot]:
    """Return the slots of sweep trials, which are not timed: single-threaded, on a CPU one per core, on a GPU one by default."""
    from optbench.executor.api import split_slots

    on_cpu = bool(slots) and slots[0].environment.get("device") == "cpu"
    return split_slots(slots, options.jobs or (cores() if on_cpu else 1), threads=1)


def _write_plan(job: Job, options: RunOptions) -> None:
    from optbench.store import make_plan
    from optbench.suite.dump import dump_text

    suite_file = _relative(job.loaded.path)
    head = f"# As run, resolved from {suite_file}. Relative paths start from the folder of that file.\n"
    job.folder.write_text("suite.yaml", head + dump_text(job.loaded.suite))
    job.folder.write_plan(
        make_plan(
            job.loaded.name,
            job.loaded.suite,
            job.planned,
            options.command,
            {"suite_file": suite_file},
            metric_directions(job.loaded),
            metric_ranges(job.loaded),
        )
    )


def _relative(path: Path) -> str:
    """The path below the working folder, otherwise the name only: results are shared, and must not contain home folders."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.name


def _refuse_to_mix(job: Job, environment: dict[str, object]) -> None:
    """Raise `OptbenchError` if a stored trial ran in another environment (decision 2 of the design)."""
    from optbench.events import FINGERPRINT
    from optbench.store import read

    rows = {trial.config_id for trial in job.planned}
    if not any(job.folder.trials.glob("*.jsonl")):
        return
    for log in (log for suite in read([job.folder.path]).suites for log in suite.logs):
        if log.config_id not in rows or log.started is None or not log.evaluations:
            continue
        stored = log.started.environment
        names = [name for name in FINGERPRINT if name != "threads" or not log.trial.get("point")]
        different = [name for name in names if name in stored and stored[name] != environment.get(name)]
        if different:
            changes = ", ".join(
                f"{name} was {stored[name]!r}, now {environment.get(name)!r}" for name in different
            )
            message = (
                f"measured in another environment: {changes}. The table would mix both. Use another --results folder, --fresh to "
                "rerun all trials, or --allow-mixed to accept it (the report states it)"
            )
            raise OptbenchError(Problem(message, file=str(log.path)))


def _already_measured(job: Job) -> str:
    """Where finished results come from: a clone of a repository may contain results of another machine."""
    from optbench.store.read import read_log

    started = read_log(job.folder.trial_path(job.wanted[0])).started
    facts = started.environment if started else {}
    return (
        f"All trials are already in {job.folder.path}, measured on {facts.get('device_name', 'an unknown device')} with torch "
        f"{facts.get('torch', '?')} ({str(facts.get('started_at', 'at an unknown time'))[:10]}). To run them on this machine, add "
        "--fresh or use another --results folder"
    )
