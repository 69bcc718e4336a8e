"""`optbench records`: what was measured, row by row."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from optbench.cli.options import AllSeeds, Output, ResultPaths

app = typer.Typer(rich_markup_mode=None)


class TableFormat(StrEnum):
    """What `records` can write."""

    csv = "csv"
    json = "json"


@app.command()
def records(
    paths: ResultPaths = None,
    format: Annotated[
        TableFormat | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="csv or json; default: by the ending of --output, else csv.",
        ),
    ] = None,
    output: Output = None,
    survival: Annotated[
        bool,
        typer.Option(
            "--survival",
            help="Instead: Kaplan-Meier curves of time to target with their 95 % bands, in every unit.",
        ),
    ] = False,
    all_seeds: AllSeeds = False,
) -> None:
    """Print every evaluation of every trial as one tidy table.

    For pandas, R or a spreadsheet: one row per evaluation, one column per quantity with its unit in the name. A trial that
    ended before its first evaluation has one row, of step 0, with its status.

    Examples:
      optbench records results/digits --output digits.csv
      optbench records results/digits --format json
      optbench records results/digits --survival

    Exit codes:
      0  written
      2  bad input
    """
    from optbench.cli import show

    name = format.value if format else None
    show.records(paths or [Path("results")], name, output, survival=survival, all_seeds=all_seeds)
