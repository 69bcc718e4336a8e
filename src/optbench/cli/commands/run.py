"""`optbench run`: a suite's trials, from the first or from where they stopped."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from optbench.cli.options import MOST_RERUNS, Data, Device, Only, ResultsRoot, Seeds, Set, Suites

app = typer.Typer(rich_markup_mode=None)


class Allocator(StrEnum):
    """Of the C library's memory."""

    tuned = "tuned"
    default = "default"


@app.command()
def run(
    suites: Suites,
    sets: Set = None,
    only: Only = None,
    seeds: Seeds = None,
    results: ResultsRoot = Path("results"),
    device: Device = "auto",
    threads: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="CPU threads of a trial; default: torch's own choice."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Trials of a sweep at once; default: one a core, on a GPU one."
        ),
    ] = None,
    reruns: Annotated[
        int,
        typer.Option(
            "--reruns",
            min=0,
            metavar="N",
            envvar="OPTBENCH_RERUNS",
            help="Run a timed trial that other work disturbed again, at most so often.",
        ),
    ] = MOST_RERUNS,
    data: Data = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be run, and run nothing.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Set earlier results of these trials aside and run them anew.")
    ] = False,
    allow_mixed: Annotated[
        bool,
        typer.Option("--allow-mixed", help="Go on though earlier trials ran on another device or version."),
    ] = False,
    allocator: Annotated[
        Allocator,
        typer.Option(
            "--allocator",
            envvar="OPTBENCH_ALLOCATOR",
            help="Memory of CPU trials: tuned keeps what is freed, default leaves the C library alone.",
        ),
    ] = Allocator.tuned,
    stall_timeout: Annotated[
        float,
        typer.Option(
            "--stall-timeout",
            min=1,
            metavar="SECONDS",
            help="A trial without a sign of life for so long is taken to hang, and ended.",
        ),
    ] = 1800,
    json: Annotated[
        bool, typer.Option("--json", help="Print one event a line as JSON, and no table.")
    ] = False,
) -> None:
    """Run a suite's trials, or go on with them, and print the table.

    A second run continues: finished trials are skipped, unfinished ones go on from their checkpoint. Ctrl-C writes a
    checkpoint and says how to go on. Timed trials on a CPU that other programs disturbed are run again once the others are
    done; the first undisturbed attempt counts, and the report tells of all.

    Examples:
      optbench run digits
      optbench run my_suite.yaml --seeds 5 --device cuda
      optbench run digits --only Adam --set workload.budget.epochs=5
      optbench run suites/digits.yaml --results /tmp/results --dry-run

    Exit codes:
      0    all trials ran (a diverged one is an outcome, not an error)
      1    some trial failed or ran out of memory
      2    bad input, or no room to write
      130  stopped with Ctrl-C; 143 by a scheduler
    """
    from optbench.cli.run import Options, run_suites

    os.environ["OPTBENCH_ALLOCATOR"] = allocator.value  # read by the trials' processes
    options = Options(
        overrides=tuple(sets or ()),
        only=tuple(only or ()),
        seeds=seeds,
        results=results,
        device=device,
        threads=threads,
        data=data,
        fresh=fresh,
        allow_mixed=allow_mixed,
        json=json,
        stall_seconds=stall_timeout,
        jobs=jobs,
        reruns=reruns,
    )
    raise typer.Exit(run_suites(suites, options, dry_run=dry_run))
