"""`run` and `plan`: suites in, measured trials and a table out."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from optbench.cli.signals import say, undisturbed
from optbench.runner.job import Job, check_distinct_folders, check_suites, create_job
from optbench.runner.observer import Listener
from optbench.runner.options import RunOptions
from optbench.suite.types import Trial

if TYPE_CHECKING:
    from optbench.executor.api import StopRequest


def run_suites(suites: Sequence[str], options: RunOptions, *, as_json: bool = False) -> int:
    """Run all suites and show the results. Return the exit code. Nothing runs unless all suites are valid."""
    from optbench.cli.run_summary import show_end
    from optbench.cli.signals import stop_requests
    from optbench.cli.streams import accept_closed_output
    from optbench.runner.suite_run import run_job

    accept_closed_output()
    jobs = _jobs(suites, options)
    failed = False
    with stop_requests() as stop:
        try:
            for job in jobs:
                end = run_job(job, options, stop, TerminalObserver(as_json))
                failed = show_end(job, options, end, table=not as_json) or failed
                if stop.asked:
                    break
        except KeyboardInterrupt:
            say(f"Stopped immediately. Saved results are intact. To resume: {options.command}")
    if stop.signal is not None:
        return 128 + stop.signal
    return 1 if failed else 0


def show_plans(suites: Sequence[str], options: RunOptions, detect: str | None = None) -> int:
    """Show what `run` would do. `detect` is a difference for which to compute the number of seeds. Return the exit code."""
    from optbench.cli.detect import check_unit, difference, show_seeds_needed
    from optbench.cli.live.plan import show_plan

    delta = difference(detect) if detect is not None else None
    _check_device(options.device)
    jobs = _jobs(suites, options)
    if detect is not None:
        check_unit(detect, (trial.workload.metrics[0] for job in jobs for trial in job.wanted))
    for job in jobs:
        show_plan(job.loaded, job.wanted, job.folder)
        if options.executor == "slurm":
            from optbench.runner import slurm

            print(f"\n{slurm.script(job.folder, job.loaded.name, options.workers, options.sbatch)}", end="")
        if delta is not None:
            show_seeds_needed(job.loaded, job.folder, delta)
    return 0


def command_line() -> str:
    """Return the command as typed."""
    return shlex.join(["optbench", *sys.argv[1:]])


def _jobs(suites: Sequence[str], options: RunOptions) -> list[Job]:
    loaded = check_suites(suites, options.overrides, options.seeds, options.data)
    jobs = [create_job(one, options) for one in loaded]
    check_distinct_folders(jobs)
    return jobs


class TerminalObserver:
    """Shows a run on standard error, or with `as_json` each event on standard output."""

    def __init__(self, as_json: bool = False) -> None:
        self._as_json = as_json

    def message(self, text: str) -> None:
        say(text)

    @contextmanager
    def round(
        self,
        job: Job,
        pending: Sequence[Trial],
        environment: Mapping[str, Any],
        *,
        parallel: int,
        stop: StopRequest,
    ) -> Iterator[Listener]:
        from optbench.cli.live.display import display

        with display(
            job.loaded,
            job.wanted,
            pending,
            dict(environment),
            job.folder,
            stop=stop,
            at_once=parallel,
            as_json=self._as_json,
        ) as listen:
            yield listen if self._as_json else undisturbed(listen)


def _check_device(device: str) -> None:
    """Raise `OptbenchError` for a missing device, as a run would. Loads torch only if the device may be missing."""
    if device not in ("auto", "cpu"):
        from optbench.engine.devices import pick_all

        pick_all(device)
