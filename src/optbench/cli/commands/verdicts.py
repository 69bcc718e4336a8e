"""`optbench verdicts`: compare published values with measured ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from optbench.cli import completion
from optbench.cli.options import AllSeeds, Data, ResultsRoot, Set, TextFormat

app = typer.Typer(rich_markup_mode=None)


@app.command()
def verdicts(
    suite: Annotated[
        str,
        typer.Argument(
            metavar="SUITE",
            help="A suite file with 'published:' rows, or the name of a shipped suite.",
            autocompletion=completion.suites,
        ),
    ],
    sets: Set = None,
    results: ResultsRoot = Path("results"),
    data: Data = None,
    format: TextFormat = "terminal",
    all_seeds: AllSeeds = False,
) -> None:
    """Compare a suite's published values with measured ones.

    Where no trial has measured the optimizer state, it is measured now by a few steps on the model. Nothing is trained.

    Examples:
      optbench verdicts resnet50
      optbench verdicts gradient_descent --results results
      optbench verdicts resnet50 --format markdown

    Exit codes:
      0  each row has a verdict
      2  bad input, or no published rows
    """
    from optbench.cli.verdicts import verdicts as judge

    judge(suite, tuple(sets or ()), results, data, format, all_seeds=all_seeds)
