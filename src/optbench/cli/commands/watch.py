"""`optbench watch`: show the progress of a run in another process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None)


@app.command()
def watch(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="[RESULTS]",
            help="A results folder, or a folder that contains results. Default: ./results.",
        ),
    ] = Path("results"),
    every: Annotated[
        float,
        typer.Option("--every", metavar="SECONDS", min=0.1, help="Seconds between two reads of the files."),
    ] = 1.0,
) -> None:
    """Follow a run in another process or on another machine, by reading its files.

    Shows the same display as the run, and prints the table when the run has finished. Writes nothing; Ctrl-C does not
    affect the run. Waits for a run that has not started, and for a killed run to be resumed. In a folder with several
    results, the suite that is running is followed.

    Examples:
      optbench watch
      optbench watch results/digits
      optbench watch /mnt/cluster/results --every 10 | tee log.txt

    Exit codes:
      0    the run has finished
      2    invalid input, or results of a newer optbench
      130  stopped with Ctrl-C; the run continues
    """
    from optbench.cli.watch import watch as follow

    raise typer.Exit(follow(path, every))
