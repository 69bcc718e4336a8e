"""Run the trials of suites, or resume them, and print the table.

Running the same command again resumes: finished trials are skipped, unfinished ones continue from their checkpoint.
Ctrl-C writes a checkpoint and shows the command to resume. Timed CPU trials that were slowed down by other programs
are rerun after the others. The first undisturbed attempt counts; the report lists all attempts.

A folder of suites (`claims`) runs one suite after the other, with results in a folder of its name. Trials that several
of the suites have in common run once.

Examples:
  optbench run digits
  optbench run claims --threads 1
  optbench run my_suite.yaml --seeds 5 --device cuda
  optbench run digits --only Adam --set workload.budget.epochs=5
  optbench run suites/digits.yaml --results /tmp/results --dry-run
  optbench run digits --executor slurm --workers 64%8 --sbatch=--time=2:00:00
  optbench run digits --executor ray --address head:6379

Exit codes:
  0    all trials ran (a diverged trial is a result, not an error)
  1    at least one trial failed or ran out of memory
  2    invalid input, or no disk space left
  130  stopped with Ctrl-C (143: by a scheduler)
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optbench.cli import completion
from optbench.cli.commands.plan import planned_jobs, show_plans
from optbench.cli.live.display import display
from optbench.cli.options import Data, Only, ResultsRoot, Seeds, Set, Suites
from optbench.cli.run_summary import show_end
from optbench.cli.signals import say, stop_requests, undisturbed
from optbench.cli.streams import accept_closed_output
from optbench.errors import OptbenchError, Problem
from optbench.runner.job import Job
from optbench.runner.observer import Listener
from optbench.runner.options import DEFAULT_RERUNS, RunOptions
from optbench.runner.suite_run import run_job
from optbench.suite.types import Trial

if TYPE_CHECKING:
    from optbench.executor.api import StopRequest

PLACE = "Compare optimizers", 4


class Executor(StrEnum):
    """Where trials run."""

    local = "local"
    shared = "shared"
    slurm = "slurm"
    ray = "ray"


class Allocator(StrEnum):
    """Settings of the C library's memory allocator."""

    tuned = "tuned"
    default = "default"


def run(
    suites: Suites,
    sets: Set = None,
    only: Only = None,
    seeds: Seeds = None,
    results: ResultsRoot = Path("results"),
    device: Annotated[
        str,
        typer.Option(
            "--device",
            metavar="DEVICE",
            help="auto, cpu, cuda (every visible GPU), cuda:N, a list such as cuda:0,cuda:1, or mps. Each GPU runs one timed trial.",
            autocompletion=completion.devices,
        ),
    ] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="CPU threads per trial. Default: torch's choice."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Sweep trials to run in parallel. Default: one per CPU core, one on a GPU.",
        ),
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(
            "--slots",
            min=1,
            metavar="N",
            help="Divide the CPU cores (of each node) among N parallel sweep trials, instead of one core each.",
        ),
    ] = None,
    reruns: Annotated[
        int,
        typer.Option(
            "--reruns",
            min=0,
            metavar="N",
            envvar="OPTBENCH_RERUNS",
            help="Maximum reruns of a timed trial affected by other load.",
        ),
    ] = DEFAULT_RERUNS,
    data: Data = None,
    executor: Annotated[
        Executor,
        typer.Option(
            "--executor",
            help="Where trials run: on this machine, by `optbench work` processes that share the results folder, by such processes "
            "in a SLURM array, or on the nodes of a Ray cluster.",
        ),
    ] = Executor.local,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="HOST:PORT",
            help="Head node of the Ray cluster. Default: RAY_ADDRESS, or a Ray that is started on this machine for this run.",
        ),
    ] = None,
    workers: Annotated[
        str,
        typer.Option(
            "--workers",
            metavar="N[%M]",
            help="Size of the SLURM array, and how many of its workers may run at once.",
        ),
    ] = "1",
    sbatch: Annotated[
        list[str] | None,
        typer.Option(
            "--sbatch",
            metavar="OPTION",
            help="Option of sbatch for the workers, such as --sbatch=--time=2:00:00; repeatable.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run, without running it.")
    ] = False,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", help="Move earlier results of these trials to superseded/ and run the trials again."
        ),
    ] = False,
    allow_mixed: Annotated[
        bool,
        typer.Option(
            "--allow-mixed", help="Continue even if earlier trials ran on another device or software version."
        ),
    ] = False,
    allocator: Annotated[
        Allocator,
        typer.Option(
            "--allocator",
            envvar="OPTBENCH_ALLOCATOR",
            help="Memory allocator for CPU trials: tuned (keeps freed memory for reuse) or default (C library settings).",
        ),
    ] = Allocator.tuned,
    checkpoint_interval: Annotated[
        float | None,
        typer.Option(
            "--checkpoint-interval",
            min=0,
            metavar="SECONDS",
            envvar="OPTBENCH_CHECKPOINT_SECONDS",
            help="Time between checkpoints of a trial. Default: 30.",
        ),
    ] = None,
    stall_timeout: Annotated[
        float,
        typer.Option(
            "--stall-timeout",
            min=1,
            metavar="SECONDS",
            help="Kill a trial that reports no progress for this long.",
        ),
    ] = 1800,
    json: Annotated[
        bool, typer.Option("--json", help="Print events as JSON, one per line, instead of the table.")
    ] = False,
) -> None:
    if jobs is not None and slots is not None:
        raise OptbenchError(Problem("use either --jobs or --slots, not both", where="--slots"))
    if address is not None and executor is not Executor.ray:
        raise OptbenchError(Problem("requires --executor ray", where="--address"))
    options = RunOptions(
        overrides=tuple(sets or ()),
        only=tuple(only or ()),
        seeds=seeds,
        results=results,
        device=device,
        threads=threads,
        data=data,
        fresh=fresh,
        allow_mixed=allow_mixed,
        stall_seconds=stall_timeout,
        jobs=jobs,
        slots=slots,
        allocator=allocator.value,
        checkpoint_seconds=checkpoint_interval,
        reruns=reruns,
        executor=executor.value,
        address=address,
        workers=workers,
        sbatch=tuple(sbatch or ()),
        command=command_line(),
    )
    if dry_run:
        raise typer.Exit(show_plans(suites, options))
    raise typer.Exit(run_suites(suites, options, as_json=json))


def run_suites(suites: Sequence[str], options: RunOptions, *, as_json: bool = False) -> int:
    """Run all suites and show the results. Return the exit code. Nothing runs unless all suites are valid."""
    accept_closed_output()
    jobs = planned_jobs(suites, options)
    failed = False
    with stop_requests() as stop:
        try:
            for position, (job, of_job) in enumerate(jobs):
                earlier = [other.folder for other, _ in jobs[:position]]
                end = run_job(job, of_job, stop, TerminalObserver(as_json), earlier)
                failed = show_end(job, of_job, end, table=not as_json) or failed
                if stop.asked:
                    break
        except KeyboardInterrupt:
            say(f"Stopped immediately. Saved results are intact. To resume: {options.command}")
    if stop.signal is not None:
        return 128 + stop.signal
    return 1 if failed else 0


def command_line() -> str:
    """Return the command as typed."""
    return shlex.join(["optbench", *sys.argv[1:]])


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
