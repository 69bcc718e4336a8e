"""Runs the trials of a job on workers that share its results folder: plans them, submits a SLURM array if requested, and follows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic, sleep

from optbench.executor.api import StopRequest
from optbench.executor.dispatch import Summary
from optbench.runner import slurm
from optbench.runner.following import follow
from optbench.runner.intermediate_reports import with_intermediate_reports
from optbench.runner.job import Job, pending_trials
from optbench.runner.observer import Observer, Round
from optbench.runner.options import RunOptions
from optbench.runner.plan_files import already_measured, write_plan
from optbench.runner.several_nodes import most_nodes
from optbench.runner.shared_work import FILE, WorkList
from optbench.store import SuiteFolder
from optbench.store.leases import Leases

_RELEASE_SECONDS = 10.0  # that a worker has after its last record


def run_on_workers(
    job: Job, options: RunOptions, stop: StopRequest, observer: Observer, summary: Summary
) -> None:
    """Plan the trials that are not complete, start workers if SLURM does, and follow them. Adds the trials to `summary`."""
    pending = pending_trials(job, None)
    write_plan(job, options)
    if not pending:
        if not summary.ended:
            observer.message(already_measured(job))
        return
    job.folder.unpack()
    WorkList.of(pending, job.folder, options, job.loaded.suite.resources).write(job.folder)
    path = job.folder.path.resolve()
    active: Callable[[], bool] = lambda: True  # noqa: E731
    if options.executor == "slurm":
        number = slurm.running_job(job.folder)
        if number is None:
            text = slurm.script(
                job.folder,
                job.loaded.name,
                options.workers,
                options.sbatch,
                job.loaded.suite.resources,
                most_nodes(pending),
            )
            number = slurm.submit(job.folder, text)
            observer.message(
                f"Submitted SLURM job {number}. Ctrl-C stops following it; scancel {number} stops it"
            )
        else:
            observer.message(
                f"Following SLURM job {number}, which runs this suite. scancel {number} stops it"
            )
        active = partial(slurm.is_active, number)
    else:
        observer.message(
            f"Waiting for workers. Start any number of them on any machine: optbench work {path}"
        )
    with observer.round(Round(job, pending, {}, stop)) as listen:
        listener = with_intermediate_reports(job.folder, job.stored, listen, len(job.planned))
        ended = follow(job.folder, pending, listener, stop, active)
    summary.add(Summary(ended))
    if not ended.get("interrupted"):
        _retire_leases(job.folder, stop)


def _retire_leases(folder: SuiteFolder, stop: StopRequest) -> None:
    """Remove the leases and the work list when the workers have released their last trials."""
    leases, deadline = Leases(folder), monotonic() + _RELEASE_SECONDS
    while leases.held():
        if stop.is_requested or monotonic() > deadline:
            return  # of a worker that was killed after its last record: the next run removes them
        sleep(0.1)
    leases.retire(folder)
    (folder.path / FILE).unlink(missing_ok=True)
