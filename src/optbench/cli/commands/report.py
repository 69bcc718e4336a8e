"""`optbench report`: print or write the comparison tables of results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from optbench.cli.options import AllSeeds, Output, OutputFormat, ResultPaths

app = typer.Typer(rich_markup_mode=None)


@app.command()
def report(
    paths: ResultPaths = None,
    format: OutputFormat = None,
    output: Output = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="DIR", help="Write every format into this folder.")
    ] = None,
    chart: Annotated[
        bool | None,
        typer.Option(
            "--chart/--no-chart", help="Print curves below the tables. Default: only in a terminal."
        ),
    ] = None,
    leaderboard: Annotated[
        bool,
        typer.Option(
            "--leaderboard",
            help="Print only the score over all workloads, by the rules of the AlgoPerf competition.",
        ),
    ] = False,
    tables: Annotated[
        list[str] | None,
        typer.Option(
            "--table",
            metavar="CAPTION",
            help="Print only tables whose caption contains this text. Repeatable.",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            metavar="TITLES",
            help="Print only these columns, in this order, for example optimizer,final.",
        ),
    ] = None,
    captions: Annotated[
        bool,
        typer.Option(
            "--captions/--no-captions",
            help="With --no-captions, figures have no title or note, and LaTeX tables no float, caption or note.",
        ),
    ] = True,
    all_seeds: AllSeeds = False,
) -> None:
    """Print the comparison tables of results, or write them.

    Needs no torch and no GPU.

    Examples:
      optbench report
      optbench report results/digits --format markdown
      optbench report results/digits --output table.csv
      optbench report results/digits --save paper
      optbench report results/digits --format latex --table "target" --columns optimizer,final,seeds --no-captions

    Exit codes:
      0  written
      2  bad input: no results found, or an unknown format
    """
    from optbench.cli import show

    titles = tuple(filter(None, (title.strip() for title in (columns or "").split(","))))
    selection = show.Selection(leaderboard, tuple(tables or ()), titles, captions, chart, all_seeds)
    show.report(paths or [Path("results")], format, output, save, selection)
