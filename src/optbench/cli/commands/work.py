"""`optbench work`: run trials of a planned suite from a shared folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None)


@app.command()
def work(
    folder: Annotated[
        Path, typer.Argument(metavar="RESULTS", help="The suite's results folder, shared by all workers.")
    ],
    lease_timeout: Annotated[
        float,
        typer.Option(
            "--lease-timeout",
            min=1,
            metavar="SECONDS",
            help="Take over a trial whose worker shows no sign of life for this long. The same for all workers.",
        ),
    ] = 120,
    slurm_requeue: Annotated[
        bool,
        typer.Option(
            "--slurm-requeue", help="In a SLURM job: run the job again after its time limit (SIGUSR1)."
        ),
    ] = False,
) -> None:
    """Run trials of a planned suite from a shared folder.

    `optbench run SUITE --executor shared` plans the suite and waits. Any number of workers, on any machines that see the folder,
    then claim its trials one by one and write their records. A lease file names the worker of each trial. If a worker dies, another
    one takes over its trial and resumes from its checkpoint. The suite's folder must be at the same place relative to the results.
    A worker ends when no trial is left.

    Examples:
      optbench work results/digits
      optbench work /shared/results/digits --lease-timeout 300

    Exit codes:
      0    no trial is left
      1    at least one trial failed or ran out of memory here
      2    invalid input, or no disk space left
      130  stopped with Ctrl-C (143: by a scheduler, 138: before a time limit)
    """
    from optbench.cli.work import run_worker

    raise typer.Exit(run_worker(folder, lease_timeout, slurm_requeue))
