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
  1    at least one trial failed, ran out of memory or is unfinished
  2    invalid input, or no disk space left
  130  stopped with Ctrl-C (143: by a scheduler)
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from optbench.cli import completion
from optbench.cli.commands.plan import planned_jobs, show_plans
from optbench.cli.live.display import display
from optbench.cli.options import Data, Only, ResultsRoot, Seeds, Set, Suites, flag, option
from optbench.cli.run_summary import show_end
from optbench.cli.signals import ignoring_display_errors, say, stop_requests
from optbench.cli.streams import accept_closed_output
from optbench.errors import OptbenchError
from optbench.runner.observer import Listener, Round
from optbench.runner.options import DEFAULT_RERUNS, DEFAULT_WORKERS, RunOptions
from optbench.runner.suite_run import run_job

PLACE = "Compare optimizers", 4


@dataclass(frozen=True)
class Options:
    """Arguments and options of the command."""

    suites: Suites
    sets: Set = None
    only: Only = None
    seeds: Seeds = None
    results: ResultsRoot = Path("results")
    device: Annotated[
        str,
        option(
            "DEVICE",
            "auto, cpu, cuda (every visible GPU), cuda:N, a list such as cuda:0,cuda:1, or mps. Each GPU runs one timed trial.",
            complete=completion.devices,
        ),
    ] = "auto"
    threads: Annotated[int | None, option("N", "CPU threads per trial. Default: torch's choice.", min=1)] = (
        None
    )
    jobs: Annotated[
        int | None,
        option("N", "Sweep trials to run in parallel. Default: one per CPU core, one on a GPU.", min=1),
    ] = None
    slots: Annotated[
        int | None,
        option(
            "N",
            "Divide the CPU cores (of each node) among N parallel sweep trials, instead of one core each.",
            min=1,
        ),
    ] = None
    reruns: Annotated[
        int,
        option(
            "N", "Maximum reruns of a timed trial affected by other load.", min=0, envvar="OPTBENCH_RERUNS"
        ),
    ] = DEFAULT_RERUNS
    data: Data = None
    executor: Annotated[
        Literal["local", "shared", "slurm", "ray"],
        option(
            "EXECUTOR",
            "Where trials run: on this machine, by `optbench work` processes that share the results folder, by such processes "
            "in a SLURM array, or on the nodes of a Ray cluster.",
        ),
    ] = "local"
    address: Annotated[
        str | None,
        option(
            "HOST:PORT",
            "Head node of the Ray cluster. Default: RAY_ADDRESS, or a Ray that is started on this machine for this run.",
        ),
    ] = None
    workers: Annotated[
        str | None,
        option("N[%M]", "Size of the SLURM array, and how many of its workers may run at once. Default: 1."),
    ] = None
    sbatch: Annotated[
        list[str] | None,
        option("OPTION", "Option of sbatch for the workers, such as --sbatch=--time=2:00:00; repeatable."),
    ] = None
    dry_run: Annotated[bool, flag("--dry-run", "Show what would run, without running it.")] = False
    fresh: Annotated[
        bool, flag("--fresh", "Move earlier results of these trials to superseded/ and run the trials again.")
    ] = False
    allow_mixed: Annotated[
        bool,
        flag("--allow-mixed", "Continue even if earlier trials ran on another device or software version."),
    ] = False
    allocator: Annotated[
        Literal["tuned", "default"],
        option(
            "ALLOCATOR",
            "Memory allocator for CPU trials: tuned (keeps freed memory for reuse) or default (C library settings).",
            envvar="OPTBENCH_ALLOCATOR",
        ),
    ] = "tuned"
    checkpoint_interval: Annotated[
        float | None,
        option(
            "SECONDS",
            "Time between checkpoints of a trial. Default: 30.",
            min=0,
            envvar="OPTBENCH_CHECKPOINT_SECONDS",
        ),
    ] = None
    stall_timeout: Annotated[
        float, option("SECONDS", "Kill a trial that reports no progress for this long.", min=1)
    ] = 1800
    json: Annotated[bool, flag("--json", "Print events as JSON, one per line, instead of the table.")] = False


def run(options: Options) -> None:
    if options.jobs is not None and options.slots is not None:
        raise OptbenchError("use either --jobs or --slots, not both", where="--slots")
    only_for = (
        ("--address", options.address, "ray"),
        ("--workers", options.workers, "slurm"),
        ("--sbatch", options.sbatch, "slurm"),
    )
    for name, value, needed in only_for:
        if value is not None and options.executor != needed:
            raise OptbenchError(f"requires --executor {needed}", where=name)
    settings = RunOptions(
        overrides=tuple(options.sets or ()),
        only=tuple(options.only or ()),
        seeds=options.seeds,
        results=options.results,
        device=options.device,
        threads=options.threads,
        data=options.data,
        fresh=options.fresh,
        allow_mixed=options.allow_mixed,
        stall_seconds=options.stall_timeout,
        jobs=options.jobs,
        slots=options.slots,
        allocator=options.allocator,
        checkpoint_seconds=options.checkpoint_interval,
        reruns=options.reruns,
        executor=options.executor,
        address=options.address,
        workers=DEFAULT_WORKERS if options.workers is None else options.workers,
        sbatch=tuple(options.sbatch or ()),
        command=command_line(),
    )
    if options.dry_run:
        raise typer.Exit(show_plans(options.suites, settings, is_dry_run=True))
    raise typer.Exit(run_suites(options.suites, settings, as_json=options.json))


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
                if stop.is_requested:
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
    def round(self, round: Round) -> Iterator[Listener]:
        with display(round, as_json=self._as_json) as listen:
            yield listen if self._as_json else ignoring_display_errors(listen)
