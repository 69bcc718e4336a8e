"""`optbench records`: print all evaluations as one table."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from optbench.cli.options import AllSeeds, Output, ResultPaths

app = typer.Typer(rich_markup_mode=None)


class TableFormat(StrEnum):
    """Formats that `records` supports."""

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
            help="csv or json. Default: the suffix of --output, otherwise csv.",
        ),
    ] = None,
    output: Output = None,
    survival: Annotated[
        bool,
        typer.Option(
            "--survival",
            help="Print Kaplan-Meier curves of the time to target with 95 % bands instead, in each unit.",
        ),
    ] = False,
    all_seeds: AllSeeds = False,
) -> None:
    """Print every evaluation of every trial as one table.

    For pandas, R or a spreadsheet: one row per evaluation, one column per quantity, with the unit in the column name. A trial
    that ended before its first evaluation has one row with step 0 and its status.

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
