"""`optbench watch`: the view that a run has of itself, for those who look on from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None)


@app.command()
def watch(
    path: Annotated[
        Path,
        typer.Argument(metavar="[RESULTS]", help="A suite's folder, or a results root; default ./results."),
    ] = Path("results"),
    every: Annotated[
        float,
        typer.Option("--every", metavar="SECONDS", min=0.1, help="Between two looks at the files."),
    ] = 1.0,
) -> None:
    """Follow a run that another process or machine is doing, from its files alone.

    Shows what the run itself shows, and ends with the table when it is over. Nothing is written, and Ctrl-C leaves the
    run alone. Waits for a run that has not begun, and for one that was killed to go on. Of a results root, the suite
    that is running is followed.

    Examples:
      optbench watch
      optbench watch results/digits
      optbench watch /mnt/cluster/results --every 10 | tee log.txt

    Exit codes:
      0    the run is over
      2    bad input: results of a newer optbench
      130  left with Ctrl-C; the run goes on
    """
    from optbench.cli.watch import watch as follow

    raise typer.Exit(follow(path, every))
