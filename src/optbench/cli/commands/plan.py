"""`optbench plan`: list the trials of a suite without running them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from optbench.cli.options import Data, Only, ResultsRoot, Seeds, Set, Suites
from optbench.runner.options import RunOptions

app = typer.Typer(rich_markup_mode=None)


@app.command()
def plan(
    suites: Suites,
    sets: Set = None,
    only: Only = None,
    seeds: Seeds = None,
    results: ResultsRoot = Path("results"),
    data: Data = None,
    detect: Annotated[
        str | None,
        typer.Option(
            metavar="DELTA",
            help="Also report the number of seeds needed to detect this difference of the final metric, for example 0.5%. "
            "A plain number is in the metric's own unit: 0.005 of an accuracy.",
        ),
    ] = None,
) -> None:
    """List the trials of a suite and estimate the remaining time.

    Same as `run --dry-run`. The estimate uses the times of finished trials.

    Examples:
      optbench plan digits
      optbench plan suites/digits.yaml --seeds 10
      optbench plan digits --detect 0.5%

    Exit codes:
      0  the suite is valid
      2  bad input
    """
    from optbench.cli.run import show_plans

    options = RunOptions(tuple(sets or ()), tuple(only or ()), seeds, results, data=data)
    raise typer.Exit(show_plans(suites, options, detect))
