"""Runs one job: rounds of trials until nothing is pending, then reruns of disturbed trials."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import zip_longest

from optbench.catalog.data_root import data_root
from optbench.cpu_cores import core_numbers, cores
from optbench.errors import OptbenchError
from optbench.executor.api import Executor, Settings, Slot, StopRequest, split_slots
from optbench.executor.dispatch import Dispatcher, Summary
from optbench.executor.local import LocalExecutor
from optbench.executor.parts import PartsExecutor
from optbench.executor.ray_cluster import RayExecutor
from optbench.plurals import counted
from optbench.runner.environment_check import refuse_to_mix, refuse_unequal
from optbench.runner.intermediate_reports import with_intermediate_reports
from optbench.runner.job import Job, create_job, pending_trials
from optbench.runner.observer import Observer, Round
from optbench.runner.on_workers import run_on_workers
from optbench.runner.options import RunOptions
from optbench.runner.plan_files import already_measured, write_plan
from optbench.runner.reruns import rerun_disturbed
from optbench.runner.results_folder import locked_folder, unpack
from optbench.runner.several_nodes import refuse_on_one_machine
from optbench.runner.shared_trials import copy_shared_trials
from optbench.runner.shared_work import refuse_held
from optbench.store import Results, SuiteFolder
from optbench.suite.resources import Resources
from optbench.suite.types import Trial


@dataclass(frozen=True)
class JobEnd:
    """How the trials of one job ended. `results` is the store after the run, None if a stop came before anything started."""

    summary: Summary
    results: Results | None

    @property
    def trials_left(self) -> int:
        """Trials that a stop left unfinished."""
        return self.summary.left + self.summary.ended.get("interrupted", 0)


def run_job(
    job: Job,
    options: RunOptions,
    stop: StopRequest,
    observer: Observer,
    earlier: Sequence[SuiteFolder] = (),
) -> JobEnd:
    """Run the job's pending trials. Trials that the folders in `earlier` contain are copied from there.

    Raises `OptbenchError` if the data, the device or the results folder cannot be used, or if stored trials come from another
    environment. Saved results are intact in each case.
    """
    refuse_on_one_machine(job.loaded, options.executor)
    resources = job.loaded.suite.resources
    options = replace(options, device=_requested_device(resources, options.device))
    settings = Settings(
        options.threads, options.command, options.allocator, options.checkpoint_seconds, resources
    )
    summary, shared = Summary(), options.executor in ("shared", "slurm")
    with locked_folder(job.folder), closing(_executor(job, options, settings)) as executor:
        if not shared or options.fresh:
            refuse_held(job.folder)
        dispatcher = Dispatcher(executor, job.folder, settings, stop, options.stall_seconds)
        if options.fresh:
            unpack(job.folder, observer)
            for trial in job.wanted:
                job.folder.set_aside(trial)
        while True:
            if copied := copy_shared_trials(job, earlier):
                observer.message(
                    f"{counted(copied, 'trial')} copied from suites that ran before: they are the same"
                )
            if shared:
                run_on_workers(job, options, stop, observer, summary)
            elif not _run_pending(job, options, dispatcher, observer, summary):
                return JobEnd(summary, None)
            planned = {(trial.id, trial.rung) for trial in job.planned}
            job = job if stop.is_requested else create_job(job.loaded, options, job.stored)
            new = [trial for trial in job.planned if (trial.id, trial.rung) not in planned]
            if not new:
                break
            observer.message(_reason(new))
        if options.executor == "local":
            rerun_disturbed(job, options, dispatcher, observer, summary)
    return JobEnd(summary, job.stored.read())


def _reason(new: Sequence[Trial]) -> str:
    """Return why results led to new trials."""
    if any(not trial.point for trial in new):
        return "Tuning is complete: training the selected settings on the seeds of the suite"
    if any(trial.study is not None for trial in new):
        return "Results of the earlier tuning trials determine the next ones"
    return "The best point of a sweep is at the edge of its grid: extending the grid for all entries"


def _executor(job: Job, options: RunOptions, settings: Settings) -> Executor:
    if options.executor == "ray":
        on_ray = RayExecutor(
            job.folder.path, settings, options.data, options.device, options.address, options.jobs
        )
        return PartsExecutor(on_ray)
    return LocalExecutor(job.folder.path, settings, data_root(options.data), options.device)


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
        observer.message(already_measured(job))
    environment = slots[0].environment if slots else {}
    sweep_slots = _sweep_slots(slots, options)
    if pending and not options.allow_mixed:
        refuse_unequal(slots)
        refuse_to_mix(job.stored, {trial.config_id for trial in job.planned}, environment)
    if pending:
        unpack(job.folder, observer)
    write_plan(job, options)
    timed = [trial for trial in pending if trial.is_alone]
    next_round = Round(job, pending, environment, dispatcher.stop, max(1, len(sweep_slots)))
    with observer.round(next_round) as listen:
        listener = with_intermediate_reports(job.folder, job.stored, listen, len(job.planned))
        summary.add(dispatcher.run_timed(timed, slots, listener))
        if untimed := [trial for trial in pending if not trial.is_alone]:
            left_out = {trial.id for trial in job.planned}.difference(trial.id for trial in job.wanted)
            summary.add(dispatcher.run_sweep(untimed, sweep_slots, listener, left_out))
    return True


def _requested_device(resources: Resources, device: str) -> str:
    """Return the device of a run: where it is auto, what the suite requires. Raises `OptbenchError` if they contradict each other."""
    if resources.gpu == 0 and device == "auto":
        return "cpu"
    if (resources.needs_gpu and device == "cpu") or (resources.gpu == 0 and device != "cpu"):
        message = f"the suite requires {resources} (`resources`); found {device}"
        raise OptbenchError(message, where="--device")
    return device


def _sweep_slots(slots: Sequence[Slot], options: RunOptions) -> list[Slot]:
    """Return the slots of trials that are not timed.

    By default they are single-threaded: one per core on a CPU, one per GPU. `options.slots` divides the cores of each machine instead.
    Raises `OptbenchError` if that is not possible.
    """
    parts = [_parts(slot, options) for slot in slots]
    return [part for group in zip_longest(*parts) for part in group if part is not None]


def _parts(slot: Slot, options: RunOptions) -> list[Slot]:

    on_cpu = slot.environment.get("device") == "cpu"
    count = cores() if slot.host_cores is None else slot.host_cores
    if options.slots is None:
        return split_slots([slot], options.jobs or (count if on_cpu else 1), threads=1)
    if not on_cpu:
        raise OptbenchError("splits the cores of a CPU; on a GPU use --jobs", where="--slots")
    if options.slots > count:
        raise OptbenchError(
            f"expected at most {count}, the number of cores; found {options.slots}", where="--slots"
        )
    numbers = core_numbers() if slot.host_cores is None else ()
    return split_slots([slot], options.slots, count // options.slots, numbers)
